package phantom.edge.session

import phantom.edge.PhantomError
import phantom.edge.Settings
import phantom.edge.bundle.Generation
import kotlin.math.exp
import kotlin.random.Random

/** Chooses the next token: the checkpoint's settings change the logits, then the program's pick one. */
internal class Choice(
    private val generation: Generation,
    private val stopTokens: IntArray,
    private val promptTokens: Int,
    private val settings: Settings,
) {
    private val random = settings.seed?.let { Random(it) } ?: Random.Default

    /** The token behind [ids], of prompt and answer so far; [logits] are changed. */
    fun choose(ids: List<Int>, logits: FloatArray): Int {
        if (!logits.all { it.isFinite() }) {
            throw PhantomError.Failed(
                "the bundle computed logits that are not finite",
                "run: phantom-edge verify BUNDLE --golden",
            )
        }
        constrain(ids, logits)
        val best = likeliest(logits)
        if (logits[best] == BANNED) {
            throw PhantomError.Unsupported(
                "the settings of this bundle ban every token at this place of the answer",
                "loosen no_repeat_ngram_size or suppress_tokens in generation_config.json and export again",
            )
        }
        return if (settings.temperature == 0.0) best else sample(logits)
    }

    private fun constrain(ids: List<Int>, logits: FloatArray) {
        if (generation.repetitionPenalty != 1.0) {
            val penalty = generation.repetitionPenalty.toFloat()
            for (id in ids.toSet()) logits[id] = if (logits[id] < 0) logits[id] * penalty else logits[id] / penalty
        }
        if (generation.noRepeatNgram > 0) banRepeated(ids, logits)
        val answered = ids.size - promptTokens
        if (ids.size < generation.minLength || answered < generation.minNewTokens) ban(stopTokens, logits)
        ban(generation.suppressTokens, logits)
        if (answered == 0) ban(generation.beginSuppressTokens, logits)
    }

    private fun ban(ids: IntArray, logits: FloatArray) {
        for (id in ids) logits[id] = BANNED
    }

    /** Bans tokens that would complete a sequence that has occurred. */
    private fun banRepeated(ids: List<Int>, logits: FloatArray) {
        val length = generation.noRepeatNgram
        val tail = ids.size - (length - 1)
        for (start in 0..ids.size - length) {
            if ((0 until length - 1).all { ids[start + it] == ids[tail + it] }) logits[ids[start + length - 1]] = BANNED
        }
    }

    private fun likeliest(logits: FloatArray): Int {
        var best = 0
        for (id in logits.indices) if (logits[id] > logits[best]) best = id
        return best
    }

    private fun sample(logits: FloatArray): Int {
        val all = logits.indices.sortedByDescending { logits[it] }
        val order = if (settings.topK > 0) all.take(settings.topK) else all
        val largest = logits[order[0]].toDouble()
        val weights = order.map { exp((logits[it] - largest) / settings.temperature) }
        val limit = settings.topP * weights.sum()
        var kept = 0
        var reached = 0.0
        while (kept < order.size && (kept == 0 || reached < limit)) reached += weights[kept++]
        var left = random.nextDouble() * reached
        for (place in 0 until kept) {
            left -= weights[place]
            if (left < 0 && weights[place] > 0) return order[place]
        }
        return order[0]
    }

    private companion object {
        const val BANNED = Float.NEGATIVE_INFINITY
    }
}
