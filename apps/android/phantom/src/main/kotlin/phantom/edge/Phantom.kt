package phantom.edge

import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asStateFlow
import kotlinx.coroutines.flow.buffer
import kotlinx.coroutines.flow.channelFlow
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.flow.flowOn
import kotlinx.coroutines.sync.Mutex
import kotlinx.coroutines.sync.withLock
import kotlinx.coroutines.withContext
import phantom.edge.bundle.BundleFolder
import phantom.edge.bundle.readProof
import phantom.edge.engine.Engine
import phantom.edge.engine.OrtEngine
import phantom.edge.profile.Line
import phantom.edge.profile.Profiler
import phantom.edge.profile.Wish
import phantom.edge.session.Pace
import phantom.edge.session.SelfTest
import phantom.edge.session.Session
import phantom.edge.text.Tokenizer
import java.io.Closeable
import java.io.File

/**
 * An open bundle of target onnx, with one conversation in its cache.
 *
 * ```
 * Phantom.open(folder, Options(threads = 4)).use { phantom ->
 *     phantom.ask("What is the price?", listOf(Picture.of(bitmap))).collect { piece -> print(piece.text) }
 * }
 * ```
 *
 * Questions are answered one after the other: a flow that is collected while another one runs waits for its end, so none
 * may be collected inside of another. A flow that is cancelled stops within one token, and what was read until then
 * stays in the cache. All work is done on a thread of its own.
 */
public class Phantom private constructor(
    private val bundle: BundleFolder,
    private val options: Options,
    private val dispatcher: CoroutineDispatcher,
) : Closeable {
    private val shown = MutableStateFlow<State>(State.Ready)
    private val turn = Mutex()
    private val lock = Any()
    private var engine: Engine? = null
    private var session: Session? = load(options.threads)

    /** What it does. */
    public val state: StateFlow<State> = shown.asStateFlow()

    /** Name of the model. */
    public val model: String get() = bundle.manifest.model.name

    /** The mark that stands in a message where a picture goes. */
    public val imageMark: String get() = bundle.manifest.prompt.images.mark

    /** Tokens that prompt and answer may have together. */
    public val maxContext: Int get() = bundle.manifest.cache.maxContext

    /** Bytes that the bundle needs at least while it runs. */
    public val leastMemory: Long get() = bundle.manifest.leastMemory

    private fun load(threads: Int, traces: File? = null): Session = synchronized(lock) {
        if (shown.value == State.Closed) throw PhantomError.Closed()
        unload() // first: two at once would double the memory
        val tokenizer = Tokenizer.read(bundle.file(bundle.manifest.prompt.tokenizer))
        val loaded = OrtEngine(bundle, threads, traces)
        engine = loaded
        Session(bundle.manifest, Guarded(loaded), tokenizer, options.pictures, Pace(options.headroom), ::show)
    }

    private fun unload() = synchronized(lock) {
        session = null
        engine?.close()
        engine = null
    }

    /** The session, which is loaded again after a profile with other settings. */
    private fun opened(): Session = session ?: load(options.threads).also { session = it }

    private fun show(state: State) {
        synchronized(lock) { if (shown.value != State.Closed) shown.value = state }
    }

    /** The engine, which is closed between its runs alone. */
    private inner class Guarded(private val inner: Engine) : Engine {
        private fun <T> guarded(work: () -> T): T = synchronized(lock) {
            if (engine !== inner) throw PhantomError.Closed()
            work()
        }

        override fun encode(tile: ByteArray) = guarded { inner.encode(tile) }

        override fun embed(ids: IntArray) = guarded { inner.embed(ids) }

        override fun forward(embeds: FloatArray, first: Int, count: Int, start: Int, wantsLogits: Boolean) =
            guarded { inner.forward(embeds, first, count, start, wantsLogits) }

        override fun endTraces() = guarded { inner.endTraces() }

        override fun close() = Unit
    }

    /**
     * Answers one question about [pictures].
     *
     * [answer] is filled with facts about it meanwhile. The flow ends with a [PhantomError] for a question that has no
     * answer.
     */
    public fun ask(
        question: String,
        pictures: List<Picture> = listOf(),
        settings: Settings = Settings(),
        answer: Answer = Answer(),
    ): Flow<Piece> = reply(listOf(Message(Role.USER, question)), pictures, settings, answer)

    /**
     * Answers the last message of a conversation about [pictures], those of earlier messages included.
     *
     * What the cache still holds of it is not computed again: give earlier answers as they were written.
     */
    public fun reply(
        messages: List<Message>,
        pictures: List<Picture> = listOf(),
        settings: Settings = Settings(),
        answer: Answer = Answer(),
    ): Flow<Piece> = flow {
        turn.withLock { ready { opened().answer(messages, pictures, settings, answer) { emit(Piece(it)) } } }
    }.buffer(Channel.RENDEZVOUS).flowOn(dispatcher)

    /** Runs the bundle's golden questions, and compares every stage with the checkpoint's numbers. */
    public suspend fun selfTest(): Report = withContext(dispatcher) {
        turn.withLock {
            ready { SelfTest(bundle, opened()).run { done, questions -> show(State.Testing(done, questions)) } }
        }
    }

    /**
     * Reads the comparison with the checkpoint that was made at the export; null where there was none.
     *
     * Raises [PhantomError] for a proof that is damaged, or another bundle's.
     */
    public suspend fun proof(): Proof? = withContext(Dispatchers.IO) { readProof(bundle) }

    /** Measures the bundle on this device, line by line; the last line is `end`. */
    public fun profile(wish: Wish = Wish()): Flow<Line> = channelFlow {
        turn.withLock {
            ready {
                show(State.Profiling)
                val threads = if (wish.threads > 0) wish.threads else options.threads
                try {
                    Profiler(
                        bundle.folder.name,
                        bundle.manifest,
                        wish,
                        threads,
                        options.machine,
                        options.memory,
                        options.sensors,
                        { traces -> load(threads, traces).also { session = it } },
                        channel,
                    ).measure(this)
                } finally {
                    if (threads != options.threads || wish.operators) unload()
                }
            }
        }
    }.flowOn(dispatcher)

    /** Empties the cache, and the memory of pictures. */
    public suspend fun forget() {
        turn.withLock { session?.forget() }
    }

    private suspend fun <T> ready(work: suspend () -> T): T {
        currentCoroutineContext().ensureActive()
        if (shown.value == State.Closed) throw PhantomError.Closed()
        try {
            return work()
        } finally {
            show(State.Ready)
        }
    }

    /** Frees everything, after the run of a graph that goes on; questions end with [PhantomError.Closed]. */
    override fun close() {
        synchronized(lock) {
            shown.value = State.Closed
            unload()
        }
    }

    public companion object {
        private const val TARGET = "onnx"

        /**
         * Opens a bundle: compares its files with its manifest, and loads it.
         *
         * [progress] takes the bytes compared and all bytes. Raises [PhantomError] for a bundle that is damaged, that is
         * not signed with the key of the options, that needs more memory than there is, or that this library cannot run
         * exactly.
         */
        public suspend fun open(
            folder: File,
            options: Options = Options(),
            progress: (Long, Long) -> Unit = { _, _ -> },
        ): Phantom {
            val dispatcher = Dispatchers.IO.limitedParallelism(1)
            return withContext(dispatcher) {
                val bundle = BundleFolder.read(folder, options.publicKey)
                checkTarget(bundle)
                checkMemory(bundle, options)
                val all = bundle.manifest.files.values.sumOf { it.bytes }
                var done = 0L
                val job = currentCoroutineContext()
                bundle.check {
                    job.ensureActive()
                    done += it
                    progress(done, all)
                }
                Phantom(bundle, options, dispatcher)
            }
        }

        private fun checkTarget(bundle: BundleFolder) {
            val manifest = bundle.manifest
            if (manifest.target != TARGET) {
                throw PhantomError.Unsupported(
                    "${bundle.folder} was made for target ${manifest.target}, not for $TARGET",
                    "export it again: phantom-edge export --target $TARGET",
                )
            }
            val cache = manifest.cache
            if (cache.layout != "growing arrays" || cache.positions != "position_ids") {
                throw PhantomError.Unsupported(
                    "a cache of ${cache.layout} with ${cache.positions} is not run here",
                    PhantomError.EXPORT_AGAIN,
                )
            }
        }

        private fun checkMemory(bundle: BundleFolder, options: Options) {
            val needed = bundle.manifest.leastMemory
            val room = listOfNotNull(options.memoryLimit, options.memory?.available()).minOrNull() ?: return
            if (needed > room) {
                throw PhantomError.TooLarge(
                    "${bundle.folder} needs ${needed / MEGA} MB at least, and there are ${room / MEGA} MB",
                    "close other apps, or export it smaller: fewer bits (--weights int4) or a smaller --max-context",
                )
            }
        }

        private const val MEGA = 1_000_000
    }
}
