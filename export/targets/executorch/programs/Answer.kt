// Answers a question from a picture with ExecuTorch's own runner. With Pictures.kt and Words.kt.
// Needs org.pytorch:executorch-android. Android has org.json.
import android.graphics.BitmapFactory
import android.graphics.ColorSpace
import android.media.ExifInterface
import java.io.File
import java.nio.ByteBuffer
import org.json.JSONObject
import org.pytorch.executorch.extension.llm.LlmCallback
import org.pytorch.executorch.extension.llm.LlmModule

/** A picture's pixels: upright, opaque, in 8 bits. */
fun decoded(file: File, background: List<Double>): Picture {
    val settings = BitmapFactory.Options().apply {
        inPremultiplied = false
        inScaled = false
        inPreferredColorSpace = ColorSpace.get(ColorSpace.Named.SRGB)
    }
    val bitmap = checkNotNull(BitmapFactory.decodeFile(file.path, settings)) { "$file is no picture" }
    val pixels = IntArray(bitmap.width * bitmap.height)
    bitmap.getPixels(pixels, 0, bitmap.width, 0, 0, bitmap.width, bitmap.height)
    val rgb = ByteArray(3 * pixels.size) {
        val value = pixels[it / 3] ushr (16 - 8 * (it % 3)) and 255
        blended(value, pixels[it / 3] ushr 24, background[it % 3].toInt()).toByte()
    }
    val orientation = ExifInterface(file.path).getAttributeInt(ExifInterface.TAG_ORIENTATION, 1)
    return Picture(bitmap.width, bitmap.height, rgb).upright(orientation)
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
