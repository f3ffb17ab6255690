package phantom.edge

import java.util.Locale

private const val OTHERS = "other tokens"

/**
 * A comparison of a bundle with its checkpoint, which was made where it was exported.
 *
 * @property stage Stage of an answer, such as `prefill`; an `exact` one leaves out the rounding of activations.
 * @property case Name of the prompt or picture.
 * @property measure Measure of the difference, such as `relative error`; `other tokens` is a share of positions.
 * @property value Measured difference; null where it is not finite.
 * @property bound Largest allowed difference; null where it is reported only.
 */
public class Check internal constructor(
    public val stage: String,
    public val case: String,
    public val measure: String,
    public val value: Double?,
    public val bound: Double?,
) {
    /** True where the value is finite and within the bound. */
    public val passed: Boolean get() = value != null && (bound == null || value <= bound)

    /** The value in words. */
    public val valueText: String get() = shown(value) ?: "not finite"

    /** The bound in words. */
    public val boundText: String get() = shown(bound) ?: "none"

    private fun shown(number: Double?): String? = when {
        number == null -> null
        measure == OTHERS -> "%.1f %%".format(Locale.ROOT, 100 * number)
        else -> "%.1e".format(Locale.ROOT, number)
    }

    override fun toString(): String = "$stage of '$case': $measure $valueText, bound $boundText"
}

/**
 * A bundle's proof: what was compared with the checkpoint before the bundle was written.
 *
 * @property model Name of the checkpoint.
 * @property fingerprint Fingerprint of the checkpoint's weights, in hexadecimal.
 * @property checks All comparisons.
 * @property leftOut Names of prompts that do not fit into the cache.
 */
public class Proof internal constructor(
    public val model: String,
    public val fingerprint: String,
    public val checks: List<Check>,
    public val leftOut: List<String>,
) {
    /** True where every stage was compared, and every bound kept. */
    public val passed: Boolean
        get() = checks.map { it.stage }.containsAll(STAGES) && checks.all { it.passed }

    private companion object {
        val STAGES = listOf("vision", "prefill", "decode")
    }
}
