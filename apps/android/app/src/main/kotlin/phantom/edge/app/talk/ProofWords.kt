package phantom.edge.app.talk

import android.content.res.Resources
import phantom.edge.Check
import phantom.edge.Proof
import phantom.edge.app.R

private const val FINGERPRINT_DIGITS = 12

/** The proof of a bundle in words: a [summary], and [rows] of the comparisons by stage and case. */
internal class ProofWords(val summary: String, val rows: List<String>)

/** Puts a proof into words; a bundle without one has null. */
internal fun proofWords(proof: Proof?, resources: Resources): ProofWords {
    if (proof == null) return ProofWords(resources.getString(R.string.proof_absent), listOf())
    val bounded = proof.checks.count { it.bound != null }
    val checkpoint = "${proof.model} (${proof.fingerprint.take(FINGERPRINT_DIGITS)})"
    val summary = when {
        proof.passed -> resources.getString(R.string.proof_kept, proof.checks.size, checkpoint, bounded)
        else -> proof.checks.count { !it.passed }.let { broken ->
            resources.getString(R.string.proof_broken, checkpoint, broken, proof.checks.size)
        }
    }
    val rows = proof.checks.groupBy { it.stage to it.case }.map { (place, checks) ->
        val how = resources.getString(if (checks.all { it.passed }) R.string.passed else R.string.exceeded)
        val title = resources.getString(R.string.proof_row, how, place.first, place.second)
        title + checks.joinToString("") { line(it, resources) }
    }
    return ProofWords(summary, rows + proof.leftOut.map { resources.getString(R.string.left_out, it) })
}

private fun line(check: Check, resources: Resources): String = if (check.bound == null) {
    resources.getString(R.string.proof_reported, check.measure, check.valueText)
} else {
    resources.getString(R.string.proof_bounded, check.measure, check.valueText, check.boundText)
}
