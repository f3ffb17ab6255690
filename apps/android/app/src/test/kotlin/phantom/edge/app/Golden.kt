package phantom.edge.app

import org.json.JSONObject
import phantom.edge.Picture
import java.io.File
import java.util.zip.ZipEntry
import java.util.zip.ZipOutputStream

/** The files that scripts/conformance.py writes. */
internal object Golden {
    private val folder = File(checkNotNull(System.getProperty("phantom.golden")) { "run the tests by Maven" })

    fun bundle(form: String): File = File(folder, "bundles/$form").also {
        check(it.isDirectory) { "$it is missing; run: python scripts/conformance.py" }
    }

    fun picture(name: String): ByteArray = File(folder, "pictures/$name").readBytes()

    fun decoded(name: String): Picture = Picture.decode(picture(name))

    /** Questions, and the answers of the Python package. */
    fun asked(form: String): List<Asked> {
        val all = JSONObject(File(folder, "answers.json").readText())
        val answers = all.getJSONObject("answers").getJSONArray(form)
        val asked = all.getJSONArray("asked")
        return List(asked.length()) { Asked(asked.getJSONObject(it), answers.getJSONObject(it)) }
    }

    /** A question with one picture whose answer is long, and ends by itself. */
    fun longest(form: String): Asked = asked(form).filter { it.isPlain }.maxByOrNull { it.answer.length }!!
}

/** A question of the conformance data. */
internal class Asked(question: JSONObject, answer: JSONObject) {
    private val messages = question.getJSONArray("messages")
    private val pictures = question.getJSONArray("pictures")
    private val end = answer.getString("end")
    private val text = messages.getJSONObject(0).getString("content")

    /** True for a first question about one picture whose answer ended by itself: the app asks it in the same way. */
    val isPlain: Boolean get() = isAsked && end == "end of turn"

    /** True for such a question whose answer goes on without an end. */
    val isEndless: Boolean get() = isAsked && end == "length" && picture == "interlaced.png"
    private val isAsked = messages.length() == 1 && pictures.length() == 1 && text.startsWith("<image>")
    val question = text.removePrefix("<image>")
    val picture: String get() = pictures.getString(0)
    val answer: String = answer.getString("text")
}

/** A zip of a folder, whose files are under [prefix]. */
internal fun zipOf(folder: File, to: File, prefix: String = ""): File {
    ZipOutputStream(to.outputStream()).use { zip ->
        for (file in folder.walkTopDown().filter { it.isFile }) {
            zip.putNextEntry(ZipEntry(prefix + file.relativeTo(folder).invariantSeparatorsPath))
            file.inputStream().use { it.copyTo(zip) }
        }
    }
    return to
}

internal fun zipOf(to: File, vararg files: Pair<String, String>): File {
    ZipOutputStream(to.outputStream()).use { zip ->
        for ((name, text) in files) {
            zip.putNextEntry(ZipEntry(name))
            zip.write(text.toByteArray())
        }
    }
    return to
}
