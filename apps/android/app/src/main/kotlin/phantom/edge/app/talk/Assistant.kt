package phantom.edge.app.talk

import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.NonCancellable
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asStateFlow
import kotlinx.coroutines.launch
import kotlinx.coroutines.sync.Mutex
import kotlinx.coroutines.sync.withLock
import kotlinx.coroutines.withContext
import phantom.edge.Answer
import phantom.edge.Message
import phantom.edge.Phantom
import phantom.edge.Picture
import phantom.edge.Role
import phantom.edge.app.Refusal
import phantom.edge.app.store.Conversations
import phantom.edge.app.store.PictureFiles
import phantom.edge.app.store.Progress
import phantom.edge.app.store.Turn
import phantom.edge.app.wordsOf
import java.io.File

private const val NANOS_PER_MILLI = 1_000_000
private const val WRITE_MILLIS = 250

/** Opens a bundle; [progress] takes the bytes that were checked, and all. */
internal typealias Opener = suspend (folder: File, progress: (Long, Long) -> Unit) -> Phantom

/**
 * The open bundle and the answer that is being written, which belong to the process: screens come and go.
 *
 * An answer is written to the [store] with its first piece and then four times a second: little is lost with the process.
 */
internal class Assistant(
    private val store: Conversations,
    private val pictures: PictureFiles,
    private val decode: (ByteArray) -> Picture,
    private val scope: CoroutineScope,
    private val io: CoroutineDispatcher = Dispatchers.IO,
    private val opener: Opener,
) {
    private val shownModel = MutableStateFlow<Model>(Model.None)
    private val shownTurn = MutableStateFlow<Turn?>(null)
    private val changed = MutableStateFlow(0)
    private val opening = Mutex()
    private var answering: Job? = null

    /** The bundle in use. */
    val model: StateFlow<Model> = shownModel.asStateFlow()

    /** The turn whose answer is being written. */
    val running: StateFlow<Turn?> = shownTurn.asStateFlow()

    /** Counts changes of the [store]. */
    val changes: StateFlow<Int> = changed.asStateFlow()

    /** Opens a bundle in the place of the one before. */
    suspend fun open(folder: File): Unit = opening.withLock {
        release()
        shownModel.value = Model.Opening(0)
        shownModel.value = try {
            val phantom = opener(folder) { done, all ->
                if (all > 0) shownModel.value = Model.Opening((100 * done / all).toInt())
            }
            Model.Ready(phantom)
        } catch (error: Throwable) {
            if (error is CancellationException) shownModel.value = Model.None
            Model.Faulty(wordsOf(error) ?: throw error)
        }
    }

    /** Closes the bundle; an answer that is being written stops. */
    suspend fun close(): Unit = opening.withLock { release() }

    private suspend fun release() {
        stop()
        (shownModel.value as? Model.Ready)?.phantom?.close()
        shownModel.value = Model.None
    }

    /** Says why there is no bundle. */
    fun refuse(words: String) {
        shownModel.value = Model.Faulty(words)
    }

    /** The open bundle. Raises Refusal where there is none. */
    fun phantom(): Phantom = when (val model = shownModel.value) {
        is Model.Ready -> model.phantom
        is Model.Faulty -> throw Refusal(model.words.substringBefore('\n'), model.words.substringAfter('\n'))
        is Model.Opening, Model.None -> throw Refusal("the bundle is not open yet", "wait a moment")
    }

    /**
     * Asks in a [conversation], null for a new one, and returns its id at once; the answer is written meanwhile.
     *
     * [picture] is a name of [pictures].
     * Raises Refusal where another answer is being written, or the question cannot be taken.
     */
    suspend fun ask(conversation: Long?, question: String, picture: String?): Long = withContext(io) {
        val text = question.trim()
        if (text.isEmpty()) throw Refusal("the question is empty", "write one, such as What is in the picture?")
        if (shownTurn.value != null) throw Refusal("an answer is being written", "wait for its end, or stop it")
        val phantom = phantom()
        val earlier = conversation?.let(store::turns).orEmpty()
        val (place, id) = store.add(conversation, text, picture)
        val turn = Turn(id, text, picture, "", Progress.RUNNING, null, 0)
        shownTurn.value = turn
        note()
        answering = scope.launch(io) { answer(phantom, earlier, turn) }
        place
    }

    /** Stops the answer that is being written, and waits until it has stopped. */
    suspend fun stop() {
        answering?.cancelAndJoin()
    }

    private fun note() {
        changed.value += 1
    }

    private suspend fun answer(phantom: Phantom, earlier: List<Turn>, turn: Turn) {
        val start = System.nanoTime()
        var now = turn
        var written = start
        val answer = Answer()
        try {
            val told = dialogue(earlier + turn, phantom.imageMark)
            val seen = told.pictures.map { decode(pictures.file(it).readBytes()) }
            phantom.reply(told.messages, seen, answer = answer).collect { piece ->
                val time = System.nanoTime()
                val isFirst = now.firstMillis == null
                now = now.copy(
                    answer = now.answer + piece.text,
                    firstMillis = now.firstMillis ?: ((time - start) / NANOS_PER_MILLI),
                    tokens = answer.ids.size,
                )
                if (isFirst || (time - written) / NANOS_PER_MILLI >= WRITE_MILLIS) {
                    store.write(now)
                    written = time
                }
                shownTurn.value = now
            }
            now = now.copy(progress = Progress.DONE, tokens = answer.ids.size)
        } catch (error: CancellationException) {
            now = now.copy(progress = Progress.STOPPED)
            throw error
        } catch (error: Throwable) {
            now = now.copy(progress = Progress.FAILED, answer = wordsOf(error) ?: throw error)
        } finally {
            withContext(NonCancellable) {
                store.write(now)
                shownTurn.value = null
                note()
            }
        }
    }
}

/** The bundle in use. */
internal sealed class Model {
    /** There is none. */
    object None : Model()

    /** It is being checked and loaded. */
    data class Opening(val percent: Int) : Model()

    /** It can be asked. */
    class Ready(val phantom: Phantom) : Model()

    /** It cannot be used: fault and remedy in two lines. */
    data class Faulty(val words: String) : Model()
}

/** Messages, and names of the pictures in their order. */
internal class Dialogue(val messages: List<Message>, val pictures: List<String>)

/**
 * The conversation that ends with the last of [turns], as the model reads it; turns without an answer are left out.
 *
 * Each picture has its [mark] before the question that it was given with.
 */
internal fun dialogue(turns: List<Turn>, mark: String): Dialogue {
    val last = turns.last()
    val told = turns.dropLast(1).filter { it.answer.isNotEmpty() && it.progress != Progress.FAILED } + last
    val messages = ArrayList<Message>()
    for (turn in told) {
        // a mark that the user wrote would stand for a picture that is not there
        val question = turn.question.replace(mark, mark.filter { it.isLetterOrDigit() })
        messages.add(Message(Role.USER, (if (turn.picture == null) "" else mark) + question))
        if (turn !== last) messages.add(Message(Role.ASSISTANT, turn.answer))
    }
    return Dialogue(messages, told.mapNotNull { it.picture })
}
