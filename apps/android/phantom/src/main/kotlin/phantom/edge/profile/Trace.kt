package phantom.edge.profile

import phantom.edge.PhantomError
import phantom.edge.json.WrongJson
import phantom.edge.json.parseJson
import java.io.File
import java.io.IOException

private const val KERNEL = "_kernel_time"
private const val RUN = "model_run"
private const val MICRO = 1e-6
private const val REMEDY = "make room in the storage, or leave it out: --no-operators"

/** The place of nodes whose names hold none. */
internal const val OTHER = "other"

/** Places in a model after which our graphs' nodes are named. */
private val PLACES = setOf("projections", "attention", "phantom maps", "MLP", "norms", "head", "patches", "projector")

/** Operators that compute nothing and move nothing. */
private val IDLE = setOf("Identity", "Reshape", "Shape", "Squeeze", "Unsqueeze")

/** One execution of a node: the innermost place in its name, if there is one, its operator and its seconds. */
internal class Kernel(val place: String?, val operator: String, val seconds: Double)

/** A whole run of a graph: its kernels in order, and its seconds. */
internal class Ran(val kernels: List<Kernel>, val seconds: Double) {
    /** Seconds that the profiler adds to each node: the mean of the run's nodes that do nothing. */
    val toll: Double
        get() = kernels.filter { it.operator in IDLE }.map { it.seconds }.ifEmpty { listOf(0.0) }.average()

    /**
     * The place of every kernel. One that the optimizer inserted has the place of the kernels that run before and after
     * it, and [OTHER] where these differ.
     */
    fun places(): List<String> {
        val before = lastPlaces(kernels)
        val after = lastPlaces(kernels.asReversed()).asReversed()
        return before.zip(after) { earlier, later ->
            if (earlier == null || later == null || earlier == later) earlier ?: later ?: OTHER else OTHER
        }
    }

    private fun lastPlaces(run: List<Kernel>): List<String?> {
        var last: String? = null
        return run.map { kernel -> (kernel.place ?: last).also { last = it } }
    }
}

/** Reads every run in a file of ONNX Runtime's profiler, an event a line. Raises PhantomError for any other file. */
internal fun readTrace(file: File): List<Ran> {
    val runs = ArrayList<Ran>()
    var kernels = ArrayList<Kernel>()
    val words = HashMap<String, String>() // traces are long, and a phone's heap is not
    try {
        file.forEachLine { line ->
            val text = line.trim().removeSuffix(",")
            if (text in setOf("", "[", "]")) return@forEachLine
            val event = parseJson(text) as? Map<*, *> ?: throw WrongJson("an event is no object")
            val name = text(event, "name")
            val seconds = MICRO * (event["dur"] as? Long ?: throw WrongJson("an event has no duration"))
            val category = text(event, "cat")
            if (category == "Node" && name.endsWith(KERNEL)) {
                val place = name.removeSuffix(KERNEL).split('/').lastOrNull { it in PLACES }
                val operator = text(event["args"] as? Map<*, *> ?: mapOf<String, Any>(), "op_name")
                fun kept(word: String) = words.getOrPut(word) { word }
                kernels.add(Kernel(place?.let(::kept), kept(operator), seconds))
            }
            if (category == "Session" && name == RUN) {
                runs.add(Ran(kernels, seconds))
                kernels = ArrayList()
            }
        }
    } catch (error: WrongJson) {
        throw PhantomError.Failed("ONNX Runtime's profiler wrote what cannot be read: ${error.message}", REMEDY, error)
    } catch (error: IOException) {
        throw PhantomError.Failed("the profiler's file cannot be read (${error.message})", REMEDY, error)
    }
    return runs
}

private fun text(of: Map<*, *>, name: String): String =
    of[name] as? String ?: throw WrongJson("an event has no '$name'")
