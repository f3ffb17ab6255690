package phantom.edge.profile

import phantom.edge.PhantomError
import phantom.edge.bundle.Manifest
import phantom.edge.engine.Engine
import java.io.File
import java.io.IOException
import java.nio.file.Files
import java.util.Locale

private const val NANOS = 1e9
private const val TILE = "vision, a tile"
private const val FEW = 3
private const val MANY = 31
private const val WITHOUT = "leave it out: --no-operators"
private const val NAMELESS = "the nodes of this bundle name no places in the model; export it again"

/**
 * Time within a step by operator, in a pass of its own, since the profiler adds time itself.
 *
 * [reopen] loads the bundle with a profiler that writes into a folder; [ensureActive] is called before each step. A
 * failure becomes `untold`, so that the other measurements are kept.
 */
internal fun operators(
    manifest: Manifest,
    depths: List<Int>,
    ensureActive: () -> Unit,
    reopen: (File) -> Engine,
): Map<String, Any?> {
    val widened = widened(manifest)
    fun line(traced: List<Any>, groups: List<Any>, untold: String) =
        mapOf("groups" to groups, "traced" to traced, "untold" to untold, "widened" to widened)
    var folder: File? = null
    return try {
        folder = Files.createTempDirectory("phantom-traces").toFile()
        val found = Tracing(manifest, reopen(folder), ensureActive).parts(depths)
        val groups = found.flatMap { it.groups }
        val isNameless = groups.all { it["group"] == OTHER }
        line(found.map { it.whole }, groups, if (isNameless) NAMELESS else "")
    } catch (error: PhantomError.Closed) {
        throw error
    } catch (error: PhantomError) {
        line(listOf(), listOf(), error.problem)
    } catch (error: IOException) {
        line(listOf(), listOf(), "the profiler's files cannot be written (${error.message})")
    } finally {
        folder?.deleteRecursively()
    }
}

/** A part with a trace, and its groups of nodes, as the lines hold them. */
private class Part(val whole: Map<String, Any>, val groups: List<Map<String, Any>>)

/** Steps of one part, in a trace after [skipped] others, and the wall time of each. */
private class Steps(private val part: String, private val skipped: Int, private val seconds: List<Double>) {
    val end: Int get() = skipped + seconds.size

    /** Medians over the steps, each without the profiler's own time. */
    fun medians(runs: List<Ran>): Part {
        val own = runs.drop(skipped).take(seconds.size)
        if (own.size < seconds.size || own.any { it.kernels.isEmpty() }) {
            throw PhantomError.Failed("ONNX Runtime's profiler recorded nothing of $part", WITHOUT)
        }
        val outside = median(seconds.zip(own) { wall, run -> wall - run.seconds })
        val whole = mapOf(
            "part" to part,
            "steps" to own.size,
            "seconds" to median(seconds),
            "toll" to median(own.map { it.toll }),
            "outside" to maxOf(outside, 0.0),
        )
        return Part(whole, groups(own))
    }

    private fun groups(own: List<Ran>): List<Map<String, Any>> {
        val seconds = LinkedHashMap<Pair<String, String>, MutableList<Double>>()
        val calls = HashMap<Pair<String, String>, Int>()
        for (run in own) {
            val toll = run.toll
            val grouped = run.places().zip(run.kernels).groupBy({ it.first to it.second.operator }) { it.second }
            for ((key, kernels) in grouped) {
                seconds.getOrPut(key) { ArrayList() }.add(kernels.sumOf { it.seconds - toll })
                calls[key] = kernels.size
            }
        }
        return seconds.map { (key, found) ->
            mapOf(
                "group" to key.first,
                "operator" to key.second,
                "seconds" to maxOf(median(found), 0.0),
                "calls" to calls.getValue(key),
                "part" to part,
            )
        }.sortedByDescending { it["seconds"] as Double }
    }
}

private class Tracing(
    private val manifest: Manifest,
    private val engine: Engine,
    private val ensureActive: () -> Unit,
) {
    private val chunk = minOf(manifest.prefillChunk, manifest.cache.maxContext - 1)
    private val rows = engine.embed(IntArray(chunk) { manifest.prompt.firstToken })

    /** A tile, a chunk, and tokens behind the first and the last of [depths]. */
    fun parts(depths: List<Int>): List<Part> {
        val side = manifest.pictures.tileSize
        val tile = ByteArray(3 * side * side)
        val ends = if (depths.isEmpty()) listOf(chunk) else listOf(depths.first(), depths.last()).distinct()
        val vision = steps(TILE, FEW, 0) { engine.encode(tile) }
        val filled = fill(ends.max())
        val prefill = steps("prefill, $chunk tokens", FEW, filled) { engine.forward(rows, 0, chunk, 0, true) }
        val decoder = arrayListOf(prefill)
        for (depth in ends) {
            val part = "a token behind %,d".format(Locale.ROOT, depth)
            decoder.add(steps(part, MANY, decoder.last().end) { engine.forward(rows, 0, 1, depth, true) })
        }
        val (ofVision, ofDecoder) = engine.endTraces().map(::readTrace)
        return listOf(vision.medians(ofVision)) + decoder.map { it.medians(ofDecoder) }
    }

    /** Fills the cache: memory that was never written is not read from memory. Returns the number of runs. */
    private fun fill(depth: Int): Int {
        val starts = 0 until depth step chunk
        for (start in starts) {
            ensureActive()
            engine.forward(rows, 0, minOf(chunk, depth - start), start, false)
        }
        return starts.count()
    }

    /** Runs a step once to warm up, and then [count] times. */
    private fun steps(part: String, count: Int, skipped: Int, step: () -> Unit): Steps {
        val seconds = List(1 + count) {
            ensureActive()
            val start = System.nanoTime()
            step()
            (System.nanoTime() - start) / NANOS
        }
        return Steps(part, skipped + 1, seconds.drop(1))
    }
}

private fun median(numbers: List<Double>): Double {
    val sorted = numbers.sorted()
    val middle = sorted.size / 2
    return if (sorted.size % 2 == 1) sorted[middle] else (sorted[middle - 1] + sorted[middle]) / 2
}
