package phantom.edge.app.talk

import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Job
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asStateFlow
import kotlinx.coroutines.launch
import phantom.edge.Phantom
import phantom.edge.Report
import phantom.edge.app.wordsOf

/** A self-test, and its [report] when it has ended. */
internal data class Examined(val report: Report? = null, val isRunning: Boolean = false, val fault: String? = null)

/** Asks the bundle's golden questions on this device. */
internal class Examination(private val scope: CoroutineScope) {
    private val shown = MutableStateFlow(Examined())
    private var job: Job? = null

    /** What the screen shows. */
    val state: StateFlow<Examined> = shown.asStateFlow()

    /** Runs once, whatever screens do meanwhile. */
    fun start(phantom: Phantom) {
        if (shown.value.isRunning) return
        shown.value = Examined(isRunning = true)
        job = scope.launch {
            shown.value = try {
                Examined(phantom.selfTest())
            } catch (error: CancellationException) {
                shown.value = Examined()
                throw error
            } catch (error: Throwable) {
                Examined(fault = wordsOf(error) ?: throw error)
            }
        }
    }

    /** Ends it without a result. */
    fun stop() {
        job?.cancel()
    }
}
