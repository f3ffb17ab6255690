// Prompts, rows of embeddings and choice of tokens, by phantom.json. Needs org.json, which Android has.
import java.io.File
import java.io.RandomAccessFile
import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.json.JSONObject

fun JSONObject.integers(name: String): List<Int> =
    optJSONArray(name)?.let { all -> List(all.length(), all::getInt) } ?: listOf()

/** The likeliest token after `ids`, of which `prompted` are the prompt's, by the model's settings; changes logits. */
fun chosen(logits: FloatArray, ids: List<Int>, prompted: Int, manifest: JSONObject): Int {
    check(logits.all { it.isFinite() }) { "the bundle computed logits that are not finite" }
    val rules = manifest.getJSONObject("generation")
    val penalty = rules.optDouble("repetition_penalty", 1.0).toFloat()
    for (id in ids.toSet()) logits[id] = if (logits[id] < 0) logits[id] * penalty else logits[id] / penalty
    val size = rules.optInt("no_repeat_ngram")
    val runs = if (size > 0) ids.windowed(size) else listOf()
    val banned = runs.filter { it.dropLast(1) == ids.takeLast(size - 1) }.map { it.last() }.toMutableList()
    val isShort = ids.size < rules.optInt("min_length") || ids.size - prompted < rules.optInt("min_new_tokens")
    if (isShort) banned += manifest.getJSONObject("prompt").integers("stop_tokens")
    banned += rules.integers("suppress_tokens")
    if (ids.size == prompted) banned += rules.integers("begin_suppress_tokens")
    for (id in banned) logits[id] = Float.NEGATIVE_INFINITY
    val token = logits.indices.reduce { best, id -> if (logits[id] > logits[best]) id else best }
    check(logits[token].isFinite()) { "the model's settings leave no token to choose" }
    return token
}

/** The texts before and behind the picture of a prompt with one picture, without its image tokens. */
fun aroundPicture(question: String, prompt: JSONObject): Pair<String, String> {
    val images = prompt.getJSONObject("images")
    val reserved = prompt.getJSONArray("reserved")
    for (text in List(reserved.length(), reserved::getString) + images.getString("mark")) {
        require(text !in question) { "the question contains $text" }
    }
    val turns = checkNotNull(prompt.optJSONObject("turns")) { "the template of this model needs a renderer of Jinja" }
    val user = turns.getJSONObject("roles").getJSONObject("user")
    val behind = question + user.getString("after") + turns.getString("generation")
    return user.getString("before") + images.getString("start") to images.getString("end") + behind
}

/** A number in 16 bits. */
fun half(bits: Int): Float {
    val exponent = bits shr 10 and 31
    val digits = if (exponent == 0) bits and 1023 else (bits and 1023) + 1024
    val size = Math.scalb(digits.toFloat(), maxOf(exponent, 1) - 25)
    return if (bits and 0x8000 == 0) size else -size
}

/** The table of embeddings. */
class Rows(folder: File, private val table: JSONObject) {
    private val file = RandomAccessFile(File(folder, table.getString("file")), "r")
    private val width = table.getInt("width")

    private fun stored(id: Int, offset: Long, bytes: Int): ByteBuffer {
        val found = ByteArray(bytes)
        file.seek(offset + id.toLong() * bytes)
        file.readFully(found)
        return ByteBuffer.wrap(found).order(ByteOrder.LITTLE_ENDIAN)
    }

    private fun floats(id: Int, offset: Long, count: Int, dtype: String): FloatArray {
        val isHalf = dtype == "float16"
        val found = stored(id, offset, count * if (isHalf) 2 else 4)
        return FloatArray(count) { if (isHalf) half(found.getShort(2 * it).toInt()) else found.getFloat(4 * it) }
    }

    /** A token's row in float32. */
    operator fun get(id: Int): FloatArray {
        val offset = table.getLong("offset")
        val rounded = table.optJSONObject("rounded") ?: return floats(id, offset, width, table.getString("dtype"))
        val bits = rounded.getInt("bits")
        val block = rounded.getInt("block")
        val blocks = (width + block - 1) / block
        val integers = stored(id, offset, blocks * block * bits / 8)
        val scales = floats(id, rounded.getLong("scales"), blocks, rounded.getString("scale_dtype"))
        val points = if (rounded.isNull("zero_points")) null else rounded.getLong("zero_points")
        val zeros = points?.let { stored(id, it, (blocks * bits + 7) / 8) }
        fun integer(from: ByteBuffer, place: Int) = // of two in a byte the low half is the first
            if (bits == 8) from.get(place).toInt() and 255 else from.get(place / 2).toInt() shr (4 * (place % 2)) and 15
        return FloatArray(width) {
            val zero = if (zeros == null) rounded.getInt("zero_offset") else integer(zeros, it / block)
            (integer(integers, it) - zero) * scales[it / block]
        }
    }
}
