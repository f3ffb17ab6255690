package phantom.edge.app.talk

import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asStateFlow
import kotlinx.coroutines.launch
import phantom.edge.Phantom
import phantom.edge.Picture
import phantom.edge.Settings
import phantom.edge.app.wordsOf
import java.util.concurrent.atomic.AtomicBoolean

private const val NANOS_PER_MILLI = 1_000_000
private const val ANSWER_TOKENS = 48

/**
 * Facts about the camera's answers.
 *
 * @property answer The last answer, or what there is of the one being written.
 * @property firstMillis Time from the frame to the first piece of the answer.
 * @property fault Why there is no answer, null where there is one.
 */
internal data class LiveAnswer(
    val answer: String = "",
    val firstMillis: Long? = null,
    val answered: Int = 0,
    val dropped: Int = 0,
    val fault: String? = null,
)

/**
 * A standing question, asked about one camera frame after the other; frames that come while it is answered are dropped.
 *
 * @property question The question, which may change between two frames.
 */
internal class LiveView(private val scope: CoroutineScope, @Volatile var question: String) {
    private val shown = MutableStateFlow(LiveAnswer())
    private val busy = AtomicBoolean()
    private var job: Job? = null

    /** What the screen shows. */
    val state: StateFlow<LiveAnswer> = shown.asStateFlow()

    /**
     * Takes a frame, or drops it; false where it was dropped.
     *
     * [read] copies the pixels, and is called only for a frame that is taken, before this function returns.
     */
    fun offer(phantom: Phantom, read: () -> Picture): Boolean {
        if (question.isBlank() || !busy.compareAndSet(false, true)) {
            change { it.copy(dropped = it.dropped + 1) }
            return false
        }
        val start = System.nanoTime()
        val picture = try {
            read()
        } catch (error: Throwable) {
            busy.set(false)
            val words = wordsOf(error) ?: throw error
            change { it.copy(fault = words) }
            return false
        }
        job = scope.launch(Dispatchers.IO) {
            try {
                answer(phantom, picture, start)
            } finally {
                busy.set(false)
            }
        }
        return true
    }

    /** Ends the answer that is being written. */
    fun stop() {
        job?.cancel()
    }

    private suspend fun answer(phantom: Phantom, picture: Picture, start: Long) {
        var text = ""
        try {
            phantom.ask(question, listOf(picture), Settings(ANSWER_TOKENS)).collect { piece ->
                val first = text.isEmpty()
                text += piece.text
                val millis = (System.nanoTime() - start) / NANOS_PER_MILLI
                change { it.copy(answer = text, firstMillis = if (first) millis else it.firstMillis, fault = null) }
            }
            change { it.copy(answer = text, answered = it.answered + 1, fault = null) }
        } catch (error: CancellationException) {
            throw error
        } catch (error: Throwable) {
            val words = wordsOf(error) ?: throw error
            change { it.copy(fault = words) }
        }
    }

    private fun change(how: (LiveAnswer) -> LiveAnswer) {
        synchronized(shown) { shown.value = how(shown.value) }
    }
}
