package phantom.edge.profile

import phantom.edge.Options
import phantom.edge.Phantom
import phantom.edge.PhantomError
import phantom.edge.json.jsonText
import java.io.File

/**
 * Measures the bundle in [folder] as `phantom-edge profile` asks of a device; [write] takes every line of JSON.
 *
 * [wish] is the text that phantom-edge sends. An error that a user can correct is the last line, with `error` and
 * `remedy`. Returns true where everything was measured.
 */
public suspend fun profileOnRequest(
    folder: File,
    wish: String,
    options: Options = Options(),
    write: suspend (String) -> Unit,
): Boolean {
    val fault = try {
        val wanted = Wish.parse(wish)
        Phantom.open(folder, options).use { phantom -> phantom.profile(wanted).collect { write(it.json) } }
        return true
    } catch (error: PhantomError) {
        error.problem to error.remedy
    } catch (_: OutOfMemoryError) {
        "the memory of this process is not enough" to "profile a smaller bundle, or fewer tokens: --depth"
    }
    write(jsonText(mapOf("error" to fault.first, "remedy" to fault.second)))
    return false
}
