// Answers a question from a picture: BUNDLE PICTURE QUESTION. phantom.json holds every number.
// With Pictures.kt and Words.kt. Needs com.microsoft.onnxruntime:onnxruntime, ai.djl.huggingface:tokenizers and
// org.json:json. On Android: onnxruntime-android, and BitmapFactory and ExifInterface instead of `decoded`.
import ai.djl.huggingface.tokenizers.HuggingFaceTokenizer
import ai.onnxruntime.OnnxJavaType
import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtSession
import ai.onnxruntime.platform.Fp16Conversions
import java.awt.image.IndexColorModel
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.FloatBuffer
import java.nio.LongBuffer
import javax.imageio.ImageIO
import org.json.JSONObject

val environment: OrtEnvironment = OrtEnvironment.getEnvironment().apply { setTelemetry(false) }
val types = mapOf("float32" to OnnxJavaType.FLOAT, "float16" to OnnxJavaType.FLOAT16, "int8" to OnnxJavaType.INT8)

/** EXIF tag 0x0112 of a JPEG or PNG; 1 where it has none. */
fun orientationOf(file: ByteArray): Int {
    val head = String(file, 0, minOf(file.size, 1 shl 16), Charsets.ISO_8859_1)
    val (mark, length) = if ("Exif\u0000\u0000" in head) "Exif\u0000\u0000" to 6 else "eXIf" to 4
    val start = head.indexOf(mark) + length
    if (start < length) return 1
    val tiff = ByteBuffer.wrap(file, start, file.size - start).slice()
    tiff.order(if (file[start] == 'I'.code.toByte()) ByteOrder.LITTLE_ENDIAN else ByteOrder.BIG_ENDIAN)
    val entries = tiff.getInt(4)
    val places = List(tiff.getShort(entries).toInt()) { entries + 2 + 12 * it }
    return places.find { tiff.getShort(it).toInt() == 0x0112 }?.let { tiff.getShort(it + 8).toInt() } ?: 1
}

/** A picture's pixels, without colour management: upright, opaque, in 8 bits. */
fun decoded(file: File, background: List<Double>): Picture {
    val image = ImageIO.read(file)
    val palette = image.colorModel as? IndexColorModel
    val bits = image.colorModel.getComponentSize(0)
    val rgb = ByteArray(3 * image.width * image.height)
    for (y in 0 until image.height) for (x in 0 until image.width) {
        val stored = image.raster.getPixel(x, y, null as IntArray?)
        val values = when {
            palette != null -> intArrayOf(16, 8, 0, 24).map { palette.getRGB(stored[0]) ushr it and 255 }.toIntArray()
            bits == 16 && stored.size == 1 -> intArrayOf((stored[0] / 257.0 + 0.5).toInt())
            else -> IntArray(stored.size) { if (bits == 16) stored[it] shr 8 else stored[it] }
        }
        val alpha = if (values.size % 2 == 0) values.last() else 255
        for (channel in 0..2) {
            val value = values[if (values.size < 3) 0 else channel]
            rgb[3 * (y * image.width + x) + channel] = blended(value, alpha, background[channel].toInt()).toByte()
        }
    }
    return Picture(image.width, image.height, rgb).upright(orientationOf(file.readBytes()))
}

fun floats(numbers: FloatArray, dtype: String, vararg shape: Long): OnnxTensor {
    val buffer = ByteBuffer.allocateDirect(4 * numbers.size).order(ByteOrder.nativeOrder())
    if (dtype == "float32") buffer.asFloatBuffer().put(numbers)
    else buffer.limit(2 * numbers.size).let {
        buffer.asShortBuffer().put(Fp16Conversions.convertFloatBufferToFp16Buffer(FloatBuffer.wrap(numbers)))
    }
    return OnnxTensor.createTensor(environment, buffer, shape, types.getValue(dtype))
}

fun longs(numbers: LongArray, vararg shape: Long): OnnxTensor =
    OnnxTensor.createTensor(environment, LongBuffer.wrap(numbers), shape)

fun portsOf(part: JSONObject, side: String) =
    part.getJSONArray(side).let { all -> List(all.length(), all::getJSONObject) }

/** The decoder and its cache: a buffer for each `past_` input, filled row by row. */
class Decoder(folder: File, manifest: JSONObject) {
    class Past(val name: String, val type: OnnxJavaType, val width: Int, context: Int) {
        val rowBytes = width * type.size
        val rows: ByteBuffer = ByteBuffer.allocateDirect(context * rowBytes).order(ByteOrder.nativeOrder())
        fun tensor(filled: Int): OnnxTensor {
            val read = rows.duplicate().position(0).limit(filled * rowBytes).slice().order(ByteOrder.nativeOrder())
            return OnnxTensor.createTensor(environment, read, longArrayOf(filled.toLong(), width.toLong()), type)
        }
    }

    private val part = manifest.getJSONObject("parts").getJSONObject("decoder")
    private val session: OrtSession = environment.createSession(File(folder, part.getString("file")).path)
    private val inputs = portsOf(part, "inputs")
    private val dtype = inputs.first { it.getString("name") == "inputs_embeds" }.getString("dtype")
    val context = manifest.getJSONObject("cache").getInt("max_context")
    private val pasts = inputs.filter { it.getString("name").startsWith("past_") }.map {
        Past(it.getString("name"), types.getValue(it.getString("dtype")), it.getJSONArray("shape").getInt(1), context)
    }
    var filled = 0

    /** Appends rows to the cache; returns the logits behind the last one. */
    fun forward(rows: List<FloatArray>): FloatArray {
        val joined = FloatArray(rows.size * rows[0].size) { rows[it / rows[0].size][it % rows[0].size] }
        val count = rows.size.toLong()
        val fed = pasts.associate { it.name to it.tensor(filled) } + mapOf(
            "inputs_embeds" to floats(joined, dtype, count, rows[0].size.toLong()),
            "position_ids" to longs(LongArray(rows.size) { (filled + it).toLong() }, 1, count),
            "logits_to_keep" to longs(longArrayOf(count - 1), 1),
        )
        session.run(fed).use { found ->
            fed.values.forEach { it.close() }
            for (past in pasts) {
                val new = found.get(past.name.replaceFirst("past_", "new_")).get() as OnnxTensor
                past.rows.position(filled * past.rowBytes)
                past.rows.put(new.byteBuffer)
            }
            filled += rows.size
            val logits = (found.get("logits").get() as OnnxTensor).floatBuffer
            return FloatArray(logits.remaining()).also { logits.get(it) }
        }
    }
}

fun imageTokens(picture: Picture, folder: File, manifest: JSONObject): List<FloatArray> {
    val rules = manifest.getJSONObject("pictures")
    val part = manifest.getJSONObject("parts").getJSONObject("vision")
    val dtype = portsOf(part, "inputs")[0].getString("dtype")
    val side = rules.getLong("tile_size")
    val width = manifest.getJSONObject("embedding").getInt("width")
    return environment.createSession(File(folder, part.getString("file")).path).use { session ->
        picture.tiles(rules).flatMap { tile ->
            session.run(mapOf("pixel_values" to floats(normalized(tile, rules), dtype, 1, 3, side, side))).use {
                val found = (it.get("image_tokens").get() as OnnxTensor).floatBuffer
                List(found.remaining() / width) { FloatArray(width).also(found::get) }
            }
        }
    }
}

/** Answers greedily with at most `most` tokens. */
fun answer(folder: File, picture: File, question: String, most: Int = 256): String {
    val manifest = JSONObject(File(folder, "phantom.json").readText())
    val prompt = manifest.getJSONObject("prompt")
    val background = manifest.getJSONObject("pictures").getJSONObject("decoding").numbers("background")
    val seen = imageTokens(decoded(picture, background), folder, manifest)

    val plain = mapOf("addSpecialTokens" to "false", "truncation" to "DO_NOT_TRUNCATE")
    val tokenizer = HuggingFaceTokenizer.newInstance(File(folder, prompt.getString("tokenizer")).toPath(), plain)
    val (before, behind) = aroundPicture(question, prompt)
    val text = before + prompt.getJSONObject("images").getString("context").repeat(seen.size) + behind
    val ids = tokenizer.encode(text, false, false).ids.map { it.toInt() }
    val decoder = Decoder(folder, manifest)
    check(ids[0] == prompt.getInt("first_token")) { "this prompt begins with another token than this bundle's" }
    check(ids.size < decoder.context) { "this prompt is too long" }
    val rows = Rows(folder, manifest.getJSONObject("embedding"))
    val image = seen.iterator()
    val embeds = ids.map { if (it == prompt.getInt("image_token")) image.next() else rows[it] }

    var logits = embeds.chunked(manifest.getInt("prefill_chunk")).map(decoder::forward).last()
    val stops = prompt.integers("stop_tokens")
    val tokens = mutableListOf<Int>()
    while (true) {
        val token = chosen(logits, ids + tokens, ids.size, manifest)
        if (token in stops) break
        tokens += token
        if (tokens.size == most || decoder.filled == decoder.context) break
        logits = decoder.forward(listOf(rows[token]))
    }
    return tokenizer.decode(LongArray(tokens.size) { tokens[it].toLong() }, true)
}

fun main(arguments: Array<String>) {
    val (folder, picture, question) = arguments
    println(answer(File(folder), File(picture), question))
}
