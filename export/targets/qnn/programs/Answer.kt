// Answers a question from a picture on a phone with this chip. With Pictures.kt, Bitmaps.kt and Words.kt.
// Needs com.microsoft.onnxruntime:onnxruntime-android-qnn and ai.djl.huggingface:tokenizers with its Android libraries.
import ai.djl.huggingface.tokenizers.HuggingFaceTokenizer
import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtSession
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.FloatBuffer
import java.nio.ShortBuffer
import org.json.JSONObject

/** A part's session on the processor, and the shapes of its inputs. */
class Loaded(folder: File, private val part: JSONObject, private val environment: OrtEnvironment) {
    private val session: OrtSession
    private val inputs = part.getJSONArray("inputs").let { all -> List(all.length(), all::getJSONObject) }
    val shapes = inputs.associate { port ->
        port.getString("name") to port.getJSONArray("shape").let { all -> LongArray(all.length(), all::getLong) }
    }

    init {
        val options = OrtSession.SessionOptions()
        options.addConfigEntry("session.disable_cpu_ep_fallback", "1")
        options.addQnn(mapOf("backend_path" to "libQnnHtp.so", "htp_performance_mode" to "burst"))
        session = environment.createSession(File(folder, part.getString("file")).path, options)
    }

    /** Outputs by name: a buffer of floats, or of 16-bit integers for the cache. */
    fun run(floats: Map<String, FloatArray>, shorts: Map<String, ShortArray> = mapOf()): Map<String, ByteBuffer> {
        val given = floats.mapValues { (name, numbers) ->
            OnnxTensor.createTensor(environment, FloatBuffer.wrap(numbers), shapes.getValue(name))
        } + shorts.mapValues { (name, numbers) ->
            OnnxTensor.createTensor(environment, ShortBuffer.wrap(numbers), shapes.getValue(name))
        }
        session.run(given).use { found ->
            given.values.forEach { it.close() }
            return found.associate { (name, value) -> name to (value as OnnxTensor).byteBuffer }
        }
    }
}

fun ByteBuffer.floats() = asFloatBuffer().let { numbers -> FloatArray(numbers.remaining()).also(numbers::get) }

/** The loop around functions of fixed shapes: padded chunks, masks, rotations, and the cache. */
class Decoder(folder: File, private val manifest: JSONObject, private val parts: Map<String, Loaded>) {
    private val facts = manifest.getJSONObject("facts")
    private val chunk = manifest.getInt("prefill_chunk")
    val context = manifest.getJSONObject("cache").getInt("max_context")
    private val rotary = ByteBuffer.wrap(File(folder, facts.getString("rotary")).readBytes())
        .order(ByteOrder.LITTLE_ENDIAN).floats()
    private val pasts = parts.getValue("decoder").shapes.filterKeys { it.startsWith("past_") }
    private val kept = pasts.mapValues { (_, shape) -> ShortArray(shape.reduce(Long::times).toInt()) }
    var filled = 0

    /** Runs `tokens` rows, of which the given ones enter the cache; the last one is repeated to fill the others. */
    private fun step(part: String, rows: List<FloatArray>, tokens: Int): Map<String, ByteBuffer> {
        val loaded = parts.getValue(part)
        val width = rows[0].size
        val half = rotary.size / 2 / context
        val places = List(tokens) { minOf(filled + it, context - 1) }
        val keys = context + tokens
        val window = if (facts.isNull("window")) Int.MAX_VALUE else facts.getInt("window")
        val masked = facts.getDouble("masked").toFloat()
        val groups = (loaded.shapes.getValue("mask").reduce(Long::times) / tokens / keys).toInt()
        // cosines twice in a row, sines too, their first copy negative; the mask once for each query head of a kv head
        val cosines = FloatArray(tokens * 2 * half) { rotary[places[it / (2 * half)] * half + it % half] }
        val sines = FloatArray(tokens * 2 * half) {
            val sine = rotary[(context + places[it / (2 * half)]) * half + it % half]
            if (it % (2 * half) < half) -sine else sine
        }
        val mask = FloatArray(groups * tokens * keys) {
            val own = filled + it / keys % tokens
            val place = it % keys
            val key = if (place < context) place else filled + place - context
            val attends = key <= own && (place >= context || key < filled) && own - key < window
            if (attends) 0f else masked
        }
        val embeds = FloatArray(tokens * width) { rows[minOf(it / width, rows.size - 1)][it % width] }
        val inputs = mapOf("inputs_embeds" to embeds, "cosines" to cosines, "sines" to sines, "mask" to mask)
        val found = loaded.run(inputs, kept)
        for (name in pasts.keys) write(name, found.getValue(name.replaceFirst("past_", "new_")), rows.size, tokens)
        filled += rows.size
        return found
    }

    /** Copies new rows (heads, tokens, width) of real tokens: keys to (heads, width, places), values as rows. */
    private fun write(name: String, new: ByteBuffer, real: Int, tokens: Int) {
        val shape = pasts.getValue(name)
        val isKey = name.startsWith("past_key")
        val width = shape[if (isKey) 1 else 2].toInt()
        val numbers = new.asShortBuffer()
        for (head in 0 until shape[0].toInt()) for (token in 0 until real) for (number in 0 until width) {
            val place = if (isKey) number * context + filled + token else (filled + token) * width + number
            kept.getValue(name)[head * width * context + place] = numbers.get((head * tokens + token) * width + number)
        }
    }

    /** Appends rows to the cache; returns the logits behind the last one. */
    fun forward(all: List<FloatArray>): FloatArray {
        var left = all
        var logits = FloatArray(0)
        while (left.isNotEmpty()) {
            val rows = left.take(chunk)
            if (rows.size > 1 && filled + chunk <= context) {
                val hidden = step("prefill", rows, chunk).getValue("hidden").floats()
                left = left.drop(rows.size)
                val last = hidden.copyOfRange((rows.size - 1) * rows[0].size, rows.size * rows[0].size)
                if (left.isEmpty()) logits = joined(parts.getValue("head").run(mapOf("hidden" to last)))
            } else { // a whole chunk does not fit into the rest of the cache, or one token is left
                logits = joined(step("decoder", left.take(1), 1))
                left = left.drop(1)
            }
        }
        return logits.copyOf(manifest.getJSONObject("embedding").getInt("rows"))
    }

    private fun joined(found: Map<String, ByteBuffer>): FloatArray {
        val names = found.keys.filter { it.startsWith("logits") }.sortedWith(compareBy({ it.length }, { it }))
        return names.map { found.getValue(it).floats() }.reduce(FloatArray::plus)
    }
}

/** Answers greedily with at most `most` tokens. Not for the main thread. */
fun answer(folder: File, picture: File, question: String, most: Int = 256): String {
    val manifest = JSONObject(File(folder, "phantom.json").readText())
    val prompt = manifest.getJSONObject("prompt")
    val rules = manifest.getJSONObject("pictures")
    val environment = OrtEnvironment.getEnvironment().apply { setTelemetry(false) }
    val described = manifest.getJSONObject("parts")
    val parts = described.keys().asSequence().toList().associateWith {
        Loaded(folder, described.getJSONObject(it), environment)
    }
    val rows = Rows(folder, manifest.getJSONObject("embedding"))
    val width = manifest.getJSONObject("embedding").getInt("width")
    val background = rules.getJSONObject("decoding").numbers("background")
    val seen = decoded(picture, background).tiles(rules).flatMap { tile ->
        val found = parts.getValue("vision").run(mapOf("pixel_values" to normalized(tile, rules)))
        found.getValue("image_tokens").floats().toList().chunked(width).map { it.toFloatArray() }
    }

    val plain = mapOf("addSpecialTokens" to "false", "truncation" to "DO_NOT_TRUNCATE")
    val tokenizer = HuggingFaceTokenizer.newInstance(File(folder, prompt.getString("tokenizer")).toPath(), plain)
    val (before, behind) = aroundPicture(question, prompt)
    val text = before + prompt.getJSONObject("images").getString("context").repeat(seen.size) + behind
    val ids = tokenizer.encode(text, false, false).ids.map { it.toInt() }
    val decoder = Decoder(folder, manifest, parts)
    check(ids[0] == prompt.getInt("first_token")) { "this prompt begins with another token than this bundle's" }
    check(ids.size < decoder.context) { "this prompt is too long" }
    val image = seen.iterator()
    var logits = decoder.forward(ids.map { if (it == prompt.getInt("image_token")) image.next() else rows[it] })
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
