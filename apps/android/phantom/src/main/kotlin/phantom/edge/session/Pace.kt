package phantom.edge.session

import kotlinx.coroutines.delay

/**
 * Pauses that keep a device from getting so hot that its system throttles.
 *
 * Up to a headroom of [BEGIN] there are none; from 1.0 on, where throttling would begin, a pause is [LONGEST] times the
 * step before it, and between them it grows evenly.
 */
internal class Pace(private val headroom: (() -> Float)?, private val now: () -> Long = System::nanoTime) {
    private var asked = Long.MIN_VALUE
    private var latest = 0f

    /** Rests after a step of so many nanoseconds. */
    suspend fun rest(stepNanos: Long) {
        val pause = pauseNanos(stepNanos)
        if (pause > 0) delay(pause / NANOS_PER_MILLI)
    }

    fun pauseNanos(stepNanos: Long): Long {
        val read = headroom ?: return 0
        val time = now()
        if (asked == Long.MIN_VALUE || time - asked >= PERIOD_NANOS) {
            asked = time
            latest = read().let { if (it.isNaN()) latest else it }
        }
        val share = ((latest - BEGIN) / (1 - BEGIN)).coerceIn(0f, 1f)
        return (stepNanos * (share * LONGEST).toDouble()).toLong()
    }

    companion object {
        const val BEGIN = 0.85f
        const val LONGEST = 3f
        private const val PERIOD_NANOS = 1_000_000_000L
        private const val NANOS_PER_MILLI = 1_000_000L
    }
}
