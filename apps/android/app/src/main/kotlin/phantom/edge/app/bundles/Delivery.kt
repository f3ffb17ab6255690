package phantom.edge.app.bundles

import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asStateFlow
import kotlinx.coroutines.launch
import phantom.edge.app.Refusal
import phantom.edge.app.wordsOf
import java.io.File

/** How far the arrival of a bundle is. */
internal sealed class Arrival {
    /** Nothing happens. */
    object Idle : Arrival()

    /** So many bytes are here; [all] is -1 where it is not known. */
    data class Loading(val done: Long, val all: Long) : Arrival()

    /** It came, and is in use. */
    data class Arrived(val name: String) : Arrival()

    /** It did not: fault and remedy in two lines. */
    data class Failed(val words: String) : Arrival()
}

/**
 * Brings bundles in, one at a time, whatever screens do meanwhile.
 *
 * @property downloads Folder of files that are being downloaded.
 * @property use Opens the bundle of a name, which was installed.
 */
internal class Delivery(
    private val bundles: Bundles,
    private val downloads: File,
    private val scope: CoroutineScope,
    private val prove: suspend (File) -> Unit,
    private val use: suspend (String) -> Unit,
) {
    private val shown = MutableStateFlow<Arrival>(Arrival.Idle)
    private var job: Job? = null

    /** How far it is. */
    val state: StateFlow<Arrival> = shown.asStateFlow()

    /** Copies a bundle from [source]. */
    fun import(name: String, source: Source): Unit = work { install(name, source) }

    /**
     * Downloads the zip at [url], whose digest is [sha256], and takes the bundle in it.
     *
     * What arrived before an interruption is kept, and the next download of the same digest goes on there.
     */
    fun download(url: String, sha256: String): Unit = work {
        val file = File(downloads, sha256.trim().lowercase().filter { it.isLetterOrDigit() }.take(64) + ".zip")
        if (!file.isFile) {
            Download(url.trim(), sha256, file).fetch { done, all -> shown.value = Arrival.Loading(done, all) }
        }
        val name = install(File(url.trim().substringBefore('?')).name, ZipSource { file.inputStream() })
        file.delete()
        name
    }

    /** Ends the delivery. */
    fun cancel() {
        job?.cancel()
    }

    private suspend fun install(name: String, source: Source): String {
        val installed = bundles.install(name, source, { shown.value = Arrival.Loading(it, -1) }, prove)
        use(installed)
        return installed
    }

    private fun work(bring: suspend () -> String) {
        if (shown.value is Arrival.Loading) throw Refusal("another bundle is on its way", "wait for it, or cancel it")
        shown.value = Arrival.Loading(0, -1)
        job = scope.launch(Dispatchers.IO) {
            shown.value = try {
                Arrival.Arrived(bring())
            } catch (error: CancellationException) {
                shown.value = Arrival.Idle
                throw error
            } catch (error: Throwable) {
                Arrival.Failed(wordsOf(error) ?: throw error)
            }
        }
    }
}
