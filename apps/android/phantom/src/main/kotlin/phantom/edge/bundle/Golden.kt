package phantom.edge.bundle

import phantom.edge.PhantomError
import phantom.edge.json.Fields
import phantom.edge.json.Node
import phantom.edge.json.WrongJson
import phantom.edge.json.parseJson
import phantom.edge.json.strictText
import java.io.IOException

/** Both ends of a row of numbers. */
internal class GoldenRow(val row: Int, val first: DoubleArray, val last: DoubleArray)

internal class GoldenPicture(
    val file: String,
    val width: Int,
    val height: Int,
    val grid: List<Int>,
    val tiles: List<String>,
    val imageTokens: List<GoldenRow>,
    val column: DoubleArray,
    val largest: Double,
)

/** Logits of a choice; [choice] is null where it may differ between right programs. */
internal class GoldenStep(val ids: IntArray, val values: DoubleArray, val choice: Int?)

internal class GoldenQuestion(
    val name: String,
    val question: String,
    val pictures: IntArray,
    val prompt: String,
    val ids: List<Int>,
    val reused: Int,
    val maxNewTokens: Int,
    val steps: List<GoldenStep>,
    val largest: Double,
    val answerIds: List<Int>,
    val pieces: List<String>,
    val text: String,
    val stoppedBy: String,
)

/** `golden.json`: questions about pictures and the checkpoint's own numbers. */
internal class Golden(
    val pictures: List<GoldenPicture>,
    val embeddings: List<GoldenRow>,
    val questions: List<GoldenQuestion>,
    val embeddingsBound: Double,
    val imageTokensBound: Double,
    val logitsBound: Double,
    val leftOut: List<String>,
) {
    companion object {
        /** Reads the golden numbers of a bundle. Raises PhantomError where it has none, or they are damaged. */
        fun read(bundle: BundleFolder): Golden {
            val name = bundle.manifest.golden ?: throw PhantomError.Unsupported(
                "${bundle.folder} has no golden files: it was made before bundles had them",
                PhantomError.EXPORT_AGAIN,
            )
            val file = bundle.file(name)
            try {
                val golden = Node("", parseJson(strictText(file.readBytes()))).fields { golden() }
                golden.contradictions(bundle.manifest).firstOrNull()?.let { throw WrongJson(it) }
                return golden
            } catch (error: WrongJson) {
                throw PhantomError.DamagedBundle("$file: ${error.message}", cause = error)
            } catch (error: IOException) {
                throw PhantomError.DamagedBundle("$file cannot be read (${error.message})", cause = error)
            }
        }
    }
}

private fun Fields.golden(): Golden {
    if (get("format").value != 1L) throw WrongJson("format is ${get("format").value}, not 1")
    val bounds = get("tolerances").fields {
        listOf("embeddings", "image_tokens", "logits").map { name ->
            get(name).double().also { rules(name to (it > 0 && it < 1)) }
        }
    }
    return Golden(
        get("pictures").list().map { it.fields { picture() } },
        get("embeddings").list().map { it.fields { row() } },
        get("questions").list().map { it.fields { question() } },
        bounds[0],
        bounds[1],
        bounds[2],
        get("left_out").strings(),
    )
}

private fun Fields.row() = GoldenRow(get("row").int(), get("first").doubles(), get("last").doubles())

private fun Fields.picture(): GoldenPicture {
    val found = GoldenPicture(
        get("file").string(),
        get("width").int(),
        get("height").int(),
        get("grid").ints().toList(),
        get("tiles").strings(),
        get("image_tokens").list().map { it.fields { row() } },
        get("column").doubles(),
        get("largest").double(),
    )
    rules(
        "size" to (found.width > 0 && found.height > 0),
        "grid" to (found.grid.size == 2 && found.grid.all { it > 0 }),
        "tiles" to found.tiles.isNotEmpty(),
        "largest" to (found.largest > 0),
    )
    return found
}

private fun Fields.step(): GoldenStep {
    val found = GoldenStep(get("ids").ints(), get("values").doubles(), get("choice").orNull { int() })
    rules("values" to (found.ids.isNotEmpty() && found.ids.size == found.values.size))
    return found
}

private class AnswerFields(val ids: IntArray, val pieces: List<String>, val text: String, val stoppedBy: String)

private fun Fields.question(): GoldenQuestion {
    val answer = get("answer").fields {
        AnswerFields(
            get("ids").ints(),
            get("pieces").strings(),
            get("text").string(),
            get("stopped_by").oneOf("end of turn", "length", "context"),
        )
    }
    val found = GoldenQuestion(
        get("name").string(),
        get("question").string(),
        get("pictures").ints(),
        get("prompt").string(),
        get("ids").ints().toList(),
        get("reused").int(),
        get("max_new_tokens").int(),
        get("steps").list().map { it.fields { step() } },
        get("largest").double(),
        answer.ids.toList(),
        answer.pieces,
        answer.text,
        answer.stoppedBy,
    )
    val steps = answer.ids.size + if (found.stoppedBy == "end of turn") 1 else 0
    rules(
        "reused" to (found.reused in found.ids.indices),
        "max_new_tokens" to (found.maxNewTokens > 0),
        "steps" to (found.steps.isNotEmpty() && found.steps.size == steps && steps <= found.maxNewTokens),
        "largest" to (found.largest > 0),
        "pieces" to (found.pieces.joinToString("") == found.text),
    )
    return found
}

/** Problems of golden numbers that do not fit the manifest. */
private fun Golden.contradictions(manifest: Manifest): Sequence<String> = sequence {
    val width = manifest.model.hidden
    for ((number, picture) in pictures.withIndex()) {
        val count = picture.tiles.size * manifest.pictures.tokensPerTile
        if (picture.file !in manifest.files) yield("pictures[$number].file is no file of the bundle")
        if (picture.column.size != count || picture.imageTokens.any { it.row !in 0 until count }) {
            yield("pictures[$number] has rows that are not among its $count image tokens")
        }
    }
    for ((number, question) in questions.withIndex()) {
        if (question.pictures.any { it !in pictures.indices }) {
            yield("questions[$number].pictures names a picture that is not there")
        }
        if (question.ids.size >= manifest.cache.maxContext) {
            yield("questions[$number].ids has more tokens than the cache")
        }
    }
    val tokens = embeddings.map { it.row } +
        questions.flatMap { one -> one.ids + one.answerIds + one.steps.flatMap { it.ids.toList() } }
    tokens.find { it !in 0 until manifest.model.vocabulary }?.let { yield("a token id is $it") }
    val rows = embeddings + pictures.flatMap { it.imageTokens }
    if (rows.any { it.first.size !in 1..width || it.last.size !in 1..width }) {
        yield("a row has no numbers, or more than $width")
    }
}
