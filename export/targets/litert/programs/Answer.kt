// Answers a question from a picture with LiteRT-LM. With Pictures.kt and Bitmaps.kt.
import android.graphics.Bitmap
import com.google.ai.edge.litertlm.Backend
import com.google.ai.edge.litertlm.Content
import com.google.ai.edge.litertlm.Contents
import com.google.ai.edge.litertlm.Engine
import com.google.ai.edge.litertlm.EngineConfig
import java.io.ByteArrayOutputStream
import java.io.File
import org.json.JSONObject

/** Stops where the model asks for more than the likeliest token. */
fun checkGreedy(generation: JSONObject) {
    val zeros = listOf("no_repeat_ngram", "min_length", "min_new_tokens").associateWith { 0.0 }
    val plain = zeros + mapOf("repetition_penalty" to 1.0)
    for (name in generation.keys()) {
        val value = generation.get(name)
        check((value as? Number)?.toDouble() == plain[name] && (value is Number || "$value" in listOf("[]", "null"))) {
            "this program chooses tokens greedily, and the model asks for $name $value"
        }
    }
}

/** A tile, bytes of channels, rows, columns, as a file of a picture: LiteRT-LM decodes pictures itself. */
fun png(tile: ByteArray, side: Int): ByteArray {
    val area = side * side
    fun byte(place: Int) = tile[place].toInt() and 255
    val pixels = IntArray(area) {
        255 shl 24 or (byte(it) shl 16) or (byte(area + it) shl 8) or byte(2 * area + it)
    }
    val bitmap = Bitmap.createBitmap(pixels, side, side, Bitmap.Config.ARGB_8888)
    return ByteArrayOutputStream().also { bitmap.compress(Bitmap.CompressFormat.PNG, 100, it) }.toByteArray()
}

/**
 * Answers; `heard` gets the answer piece by piece. Not for the main thread: loading takes seconds. LiteRT-LM keeps
 * rearranged weights in the folder `kept`, such as the app's cacheDir; by default it writes them into the bundle.
 */
suspend fun answer(folder: File, picture: File, question: String, kept: File, heard: (String) -> Unit) {
    val manifest = JSONObject(File(folder, "phantom.json").readText())
    checkGreedy(manifest.getJSONObject("generation"))
    val rules = manifest.getJSONObject("pictures")
    val container = File(folder, manifest.getJSONObject("facts").getString("container"))
    val tiles = decoded(picture, rules.getJSONObject("decoding").numbers("background")).tiles(rules)
    val config = EngineConfig(
        container.path,
        backend = Backend.CPU(),
        visionBackend = Backend.CPU(),
        maxNumImages = tiles.size,
        cacheDir = kept.path,
    )
    Engine(config).use { engine ->
        engine.initialize()
        engine.createConversation().use { conversation ->
            val side = rules.getInt("tile_size")
            val contents = tiles.map { Content.ImageBytes(png(it, side)) } + Content.Text(question)
            conversation.sendMessageAsync(Contents.of(contents)).collect { heard(it.toString()) }
        }
    }
}
