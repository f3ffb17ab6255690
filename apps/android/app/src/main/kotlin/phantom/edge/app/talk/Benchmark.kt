package phantom.edge.app.talk

import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Job
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asStateFlow
import kotlinx.coroutines.launch
import org.json.JSONArray
import org.json.JSONObject
import phantom.edge.Phantom
import phantom.edge.app.wordsOf
import phantom.edge.profile.Wish
import java.util.Locale

/**
 * A measurement of the bundle.
 *
 * @property rows Names and values, to be shown.
 * @property json The lines as `phantom-edge profile` reads them.
 */
internal data class Measured(
    val rows: List<Pair<String, String>> = listOf(),
    val json: List<String> = listOf(),
    val isRunning: Boolean = false,
    val fault: String? = null,
)

/** Measures a bundle by the library's own profile, and puts its lines into words. */
internal class Benchmark(private val scope: CoroutineScope) {
    private val shown = MutableStateFlow(Measured())
    private var job: Job? = null

    /** What the screen shows. */
    val state: StateFlow<Measured> = shown.asStateFlow()

    /** How much is measured; tests wish for less. */
    var wish = Wish(repeats = 3, operators = false)

    /** Measures once, whatever screens do meanwhile. */
    fun start(phantom: Phantom) {
        if (shown.value.isRunning) return
        shown.value = Measured(isRunning = true)
        job = scope.launch { run(phantom, wish) }
    }

    /** Ends the measurement; what it has stays. */
    fun stop() {
        job?.cancel()
    }

    private suspend fun run(phantom: Phantom, wish: Wish) {
        try {
            phantom.profile(wish).collect { line ->
                val now = shown.value
                shown.value = now.copy(rows = now.rows + listOfNotNull(rowOf(line.json)), json = now.json + line.json)
            }
        } catch (error: CancellationException) {
            throw error
        } catch (error: Throwable) {
            shown.value = shown.value.copy(fault = wordsOf(error) ?: throw error)
        } finally {
            shown.value = shown.value.copy(isRunning = false)
        }
    }
}

/** A line of a profile in words, null for one that says nothing to a user. */
internal fun rowOf(json: String): Pair<String, String>? {
    val line = JSONObject(json)
    val kind = line.keys().next()
    val value = line.get(kind) as? JSONObject ?: return null
    return when (kind) {
        "device" -> "device" to "${value.getString("name")}, ${value.getString("system")}"

        "stage" -> {
            val warm = value.getJSONArray("warm")
            val units = value.getInt("units")
            val each = if (units > 1) ", ${milliseconds(median(warm) / units)} a token" else ""
            value.getString("name") to
                "${milliseconds(median(warm))}$each (first ${milliseconds(value.getDouble("cold"))})"
        }

        "depth" -> {
            val seconds = median(value.getJSONArray("seconds"))
            "decode at ${value.getInt("context")} tokens" to
                "${milliseconds(seconds)}, ${"%.1f".format(Locale.ROOT, 1 / seconds)} tokens/s"
        }

        "answer" ->
            "answer" to
                "${milliseconds(
                    value.getDouble("seconds"),
                )}, first token ${milliseconds(value.getDouble("first_token"))}"

        else -> null
    }
}

private fun median(numbers: JSONArray): Double {
    val sorted = List(numbers.length()) { numbers.getDouble(it) }.sorted()
    return sorted[sorted.size / 2]
}

private fun milliseconds(seconds: Double) = "%.1f ms".format(Locale.ROOT, 1000 * seconds)
