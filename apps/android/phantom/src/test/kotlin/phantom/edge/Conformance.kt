package phantom.edge

import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.runBlocking
import phantom.edge.json.parseJson
import java.awt.image.IndexColorModel
import java.io.ByteArrayInputStream
import java.io.File
import javax.imageio.ImageIO

/** The files that scripts/conformance.py writes. */
internal object Conformance {
    private val folder = File(checkNotNull(System.getProperty("phantom.golden")) { "run the tests by Maven" })

    fun file(name: String): File = File(folder, name).also {
        check(it.exists()) { "$it is missing; run: python scripts/conformance.py" }
    }

    fun json(name: String): Json = Json(parseJson(file(name).readText()))

    fun bundle(form: String): File = file("bundles/$form")

    /** A copy of a bundle. */
    fun copy(form: String, to: File): File = to.also { bundle(form).copyRecursively(it) }

    fun picture(name: String): Picture = Picture.decode(file("pictures/$name").readBytes())
}

/** A value of a document of the conformance data. */
internal class Json(val value: Any?) {
    operator fun get(name: String) = Json((value as Map<*, *>)[name])

    val entries: Map<String, Json> get() = (value as Map<*, *>).entries.associate {
        (it.key as String) to Json(it.value)
    }
    val list: List<Json> get() = (value as List<*>).map { Json(it) }
    val text: String get() = value as String
    val int: Int get() = (value as Long).toInt()
    val flag: Boolean get() = value as Boolean
    val ints: List<Int> get() = list.map { it.int }
    val texts: List<String> get() = list.map { it.text }
}

/** A question of the conformance data. */
internal class Asked(from: Json) {
    val messages = from["messages"].list.map { Message(Role.valueOf(it["role"].text.uppercase()), it["content"].text) }
    val pictures = from["pictures"].texts
    val settings = Settings(from["max_new_tokens"].int)

    fun shown(): List<Picture> = pictures.map(Conformance::picture)

    override fun toString() = "${messages.last().text} $pictures"
}

/** Asks, and returns what a Python session would have noted. */
internal fun Phantom.note(asked: Asked): Map<String, Any> = runBlocking {
    val answer = Answer()
    val pieces = reply(asked.messages, asked.shown(), asked.settings, answer).toList().map { it.text }
    mapOf(
        "text" to answer.text,
        "ids" to answer.ids.map { it.toLong() },
        "pieces" to pieces,
        "prompt_tokens" to answer.promptTokens.toLong(),
        "reused_tokens" to answer.reusedTokens.toLong(),
        "end" to answer.end.word,
    )
}

internal fun open(folder: File, options: Options = Options(threads = 1)): Phantom =
    runBlocking { Phantom.open(folder, options) }

/** Decodes by Java's own ImageIO what is no PNG: the pixels as they are stored. */
internal object ImageIoDecoder : Picture.Decoder {
    override fun decode(bytes: ByteArray): Picture? {
        val image = ImageIO.read(ByteArrayInputStream(bytes)) ?: return null
        val rgb = ByteArray(3 * image.width * image.height)
        val palette = image.colorModel as? IndexColorModel
        val order = if (image.raster.numBands < 3) intArrayOf(0, 0, 0) else intArrayOf(0, 1, 2)
        var pixel = IntArray(4)
        for (y in 0 until image.height) {
            for (x in 0 until image.width) {
                pixel = image.raster.getPixel(x, y, pixel)
                for (channel in 0..2) {
                    val value = palette?.getRGB(pixel[0])?.shr(16 - 8 * channel) ?: pixel[order[channel]]
                    rgb[3 * (y * image.width + x) + channel] = value.toByte()
                }
            }
        }
        return Picture(image.width, image.height, rgb)
    }
}
