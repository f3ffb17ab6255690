package phantom.edge.profile

import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.channels.SendChannel
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.delay
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.isActive
import kotlinx.coroutines.launch
import phantom.edge.Answer
import phantom.edge.Machine
import phantom.edge.Memory
import phantom.edge.Message
import phantom.edge.PhantomError
import phantom.edge.Picture
import phantom.edge.Role
import phantom.edge.Sensors
import phantom.edge.Settings
import phantom.edge.bundle.Manifest
import phantom.edge.session.Session
import phantom.edge.session.Watch
import java.io.File

private const val NANOS = 1e9
private const val DEPTH_TOKENS = 8
private const val PERIOD_MILLIS = 100L
private const val LOADING_SECONDS = 10.0
private val USUAL_DEPTHS = listOf(64, 256, 1024, 4096)

/** Measures a bundle stage by stage, with the session and engine that answer questions. */
internal class Profiler(
    private val name: String,
    private val manifest: Manifest,
    private val wish: Wish,
    private val threads: Int,
    private val machine: Machine,
    private val memory: Memory?,
    private val sensors: Sensors?,
    private val reopen: (File?) -> Session,
    private val to: SendChannel<Line>,
) {
    private val began = System.nanoTime()
    private val chunk = minOf(manifest.prefillChunk, manifest.cache.maxContext - 1)
    private val depths: List<Int>
    private val clocks = Clocks()

    init {
        val room = manifest.cache.maxContext - DEPTH_TOKENS
        depths = wish.depths.ifEmpty { USUAL_DEPTHS.filter { it <= room } }
        depths.find { it > room }?.let {
            throw PhantomError.BadQuestion(
                "a depth of $it, and this bundle holds ${room + DEPTH_TOKENS} tokens",
                "give $room or less",
            )
        }
    }

    private suspend fun write(kind: String, value: Any?) = to.send(Line(kind, value))

    /** Measures everything in order. */
    suspend fun measure(scope: CoroutineScope) {
        val ceilings = ceilings(threads)
        System.gc() // the matrices of that: what is measured next is the bundle's memory
        write(
            "device",
            mapOf(
                "kind" to machine.kind,
                "name" to machine.name,
                "processor" to machine.processor,
                "system" to machine.system,
                "cores" to Runtime.getRuntime().availableProcessors(),
                "memory_bytes" to (memory?.total ?: Runtime.getRuntime().maxMemory()),
                "bandwidth" to ceilings.bandwidth,
                "products" to ceilings.products,
            ),
        )
        write("subject", subject(name, manifest, threads))
        write("steps", 4 + depths.size + 1 + wish.repeats + if (wish.operators) 1 else 0)
        reading("before")
        val watching = scope.launch(Dispatchers.Default) {
            while (isActive) {
                delay(PERIOD_MILLIS)
                reading("during")
            }
        }
        try {
            val session = load()
            val side = manifest.pictures.tileSize
            val tile = ByteArray(3 * side * side)
            stage("vision", 1) { session.engine.encode(tile) }
            val rows = rows(session, chunk)
            stage("prefill", chunk) { session.engine.forward(rows, 0, chunk, 0, true) }
            decode(session)
            answers(session)
        } finally {
            watching.cancel()
        }
        watching.join()
        reading("after")
        if (wish.operators) {
            val job = currentCoroutineContext()
            write("operators", operators(manifest, depths, { job.ensureActive() }) { reopen(it).engine })
        }
        write("end", 1)
    }

    private fun since(start: Long) = (System.nanoTime() - start) / NANOS

    private suspend fun load(): Session {
        val seconds = ArrayList<Double>()
        var session: Session? = null
        while (seconds.size < 2 || (seconds.size < 1 + wish.repeats && seconds.sum() < LOADING_SECONDS)) {
            currentCoroutineContext().ensureActive()
            val start = System.nanoTime()
            session = reopen(null)
            seconds.add(since(start))
        }
        write("stage", mapOf("name" to "load", "units" to 1, "cold" to seconds[0], "warm" to seconds.drop(1)))
        return checkNotNull(session)
    }

    private suspend fun stage(name: String, units: Int, work: () -> Unit) {
        val seconds = List(1 + wish.repeats) {
            currentCoroutineContext().ensureActive()
            val start = System.nanoTime()
            work()
            since(start)
        }
        write("stage", mapOf("name" to name, "units" to units, "cold" to seconds[0], "warm" to seconds.drop(1)))
    }

    private fun rows(session: Session, count: Int) =
        session.engine.embed(IntArray(count) { manifest.prompt.firstToken })

    private suspend fun decode(session: Session) {
        val row = rows(session, 1)
        stage("decode", 1) { session.engine.forward(row, 0, 1, chunk, true) }
        for (depth in depths) {
            for (start in 0 until depth step manifest.prefillChunk) {
                currentCoroutineContext().ensureActive()
                val size = minOf(manifest.prefillChunk, depth - start)
                session.engine.forward(rows(session, size), 0, size, start, false)
            }
            val seconds = List(DEPTH_TOKENS) {
                val start = System.nanoTime()
                session.engine.forward(row, 0, 1, depth + it, true)
                since(start)
            }
            write("depth", mapOf("context" to depth, "seconds" to seconds))
        }
    }

    private suspend fun answers(session: Session) {
        var tokens = 0
        write("tokens", tokens)
        for (number in 0..wish.repeats) {
            session.forgetConversation()
            val clock = Clock()
            val start = System.nanoTime()
            var first = 0.0
            val messages = listOf(Message(Role.USER, wish.question))
            session.answer(messages, listOf(picture(number)), Settings(wish.tokens), Answer(), clock) {
                if (first == 0.0) first = since(start)
            }
            val seconds = since(start)
            tokens += clock.choices
            if (first == 0.0) first = seconds
            write("answer", mapOf("seconds" to seconds, "first_token" to first, "stages" to clock.stages()))
        }
        write("tokens", tokens)
    }

    private class Clock : Watch() {
        private val nanos = LinkedHashMap<String, Long>()
        var choices = 0

        override fun onStage(name: String, nanos: Long) {
            this.nanos[name] = (this.nanos[name] ?: 0) + nanos
            if (name == "choose") choices++
        }

        fun stages() = nanos.mapValues { it.value / NANOS }
    }

    /** A picture that differs from the others in one pixel. */
    private fun picture(number: Int): Picture {
        val side = manifest.pictures.tileSize
        val pixels = ByteArray(3 * side * side) { byteArrayOf(90, 120, 150.toByte())[it % 3] }
        pixels[0] = number.toByte()
        pixels[1] = (number shr 8).toByte()
        pixels[2] = 7
        return Picture.ofRgb(side, side, pixels)
    }

    private suspend fun reading(time: String) {
        val sensed = sensors?.read()
        write(
            "reading",
            mapOf(
                "seconds" to since(began),
                "when" to time,
                "resident_bytes" to residentBytes(),
                "megahertz" to (sensed?.megahertz ?: clocks.megahertz()),
                "celsius" to sensed?.celsius,
                "battery" to sensed?.battery,
                "watts" to sensed?.watts,
                "state" to sensed?.state.orEmpty(),
            ),
        )
    }
}
