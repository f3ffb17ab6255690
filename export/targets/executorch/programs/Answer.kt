// Answers a question from a picture with ExecuTorch's own runner. With Pictures.kt, Bitmaps.kt and Words.kt.
import java.io.File
import java.nio.ByteBuffer
import org.json.JSONObject
import org.pytorch.executorch.extension.llm.LlmCallback
import org.pytorch.executorch.extension.llm.LlmModule

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

/** Answers greedily; `heard` gets the answer piece by piece. Not for the main thread. */
fun answer(folder: File, picture: File, question: String, heard: (String) -> Unit) {
    val manifest = JSONObject(File(folder, "phantom.json").readText())
    val prompt = manifest.getJSONObject("prompt")
    val rules = manifest.getJSONObject("pictures")
    checkGreedy(manifest.getJSONObject("generation"))
    val program = manifest.getJSONObject("parts").getJSONObject("decoder").getString("file")
    val tokenizer = File(folder, prompt.getString("tokenizer")).path
    val side = rules.getInt("tile_size")
    val (before, behind) = aroundPicture(question, prompt)

    LlmModule(LlmModule.MODEL_TYPE_TEXT_VISION, File(folder, program).path, tokenizer, 0f).use { module ->
        module.load()
        module.prefillPrompt(before) // the first token must come first; after resetContext(), too
        for (tile in decoded(picture, rules.getJSONObject("decoding").numbers("background")).tiles(rules)) {
            val pixels = ByteBuffer.allocateDirect(tile.size).put(tile)
            pixels.rewind()
            module.prefillImages(pixels, side, side, 3)
        }
        val callback = object : LlmCallback {
            override fun onResult(result: String) = heard(result)
        }
        module.generate(behind, manifest.getJSONObject("cache").getInt("max_context"), callback, false)
    }
}
