package phantom.edge.profile

import phantom.edge.PhantomError
import phantom.edge.json.Node
import phantom.edge.json.WrongJson
import phantom.edge.json.jsonText
import phantom.edge.json.parseJson

/**
 * A request for a profile, as `phantom-edge profile` sends it.
 *
 * @property repeats Calls of a stage after the first one.
 * @property tokens Tokens of an answer.
 * @property threads Threads of ONNX Runtime; 0: those of the open bundle.
 * @property depths Lengths of the cache at which single tokens are timed; empty: a usual choice.
 * @property operators True where ONNX Runtime's profiler is asked, in a pass of its own, for the time by operators.
 */
public class Wish(
    public val repeats: Int = 5,
    public val tokens: Int = 16,
    public val threads: Int = 0,
    public val depths: List<Int> = listOf(),
    public val question: String = "What is in the picture?",
    public val operators: Boolean = true,
) {
    init {
        check(repeats >= 1, "repeats", "give 1 or more")
        check(tokens >= 2, "tokens", "give 2 or more")
        check(threads >= 0, "threads", "give 0 or more")
        check(depths.all { it >= 1 }, "depths", "give 1 or more tokens")
    }

    private fun check(holds: Boolean, name: String, remedy: String) {
        if (!holds) throw PhantomError.BadQuestion("$name is impossible", remedy)
    }

    public companion object {
        /** Reads a wish as `phantom-edge profile` sends it, a JSON object. Raises [PhantomError.BadQuestion]. */
        public fun parse(json: String): Wish = try {
            Node("", parseJson(json)).fields {
                Wish(
                    find("repeats")?.int() ?: 5,
                    find("tokens")?.int() ?: 16,
                    find("threads")?.int() ?: 0,
                    find("depths")?.ints()?.toList() ?: listOf(),
                    find("question")?.string() ?: "What is in the picture?",
                    find("operators")?.boolean() ?: true,
                )
            }
        } catch (error: WrongJson) {
            throw PhantomError.BadQuestion("the wish cannot be read: ${error.message}", PhantomError.UPDATE)
        }
    }
}

/**
 * A line of a profile, by `schema_lines.json` of phantom-edge.
 *
 * @property kind Kind of the measurement, such as `stage`.
 * @property json The whole line.
 */
public class Line internal constructor(public val kind: String, value: Any?) {
    public val json: String = jsonText(mapOf(kind to value))

    override fun toString(): String = json
}
