package phantom.edge.text

/**
 * The text of an answer that grows token by token, in pieces of whole letters.
 *
 * All tokens are decoded each time: with byte fallback, a letter may still change when more bytes come.
 */
internal class Streamed(private val tokenizer: Tokenizer) {
    private val ids = ArrayList<Int>()
    private var shown = 0 // code points

    var text: String = ""
        private set

    /** The piece that a token completes, empty where the text ends within a letter. */
    fun add(token: Int): String {
        ids.add(token)
        text = tokenizer.decode(ids)
        return if (text.endsWith(REPLACEMENT)) "" else rest()
    }

    /** The text beyond the pieces so far. */
    fun rest(): String {
        val length = text.codePointCount(0, text.length)
        val piece = if (length > shown) text.substring(text.offsetByCodePoints(0, shown)) else ""
        shown = maxOf(shown, length)
        return piece
    }
}
