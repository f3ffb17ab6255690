package phantom.edge.profile

import phantom.edge.bundle.Manifest
import phantom.edge.bundle.Part

private val BITS = mapOf("int3" to 4, "int4" to 4, "int8" to 8, "uint8" to 8, "int16" to 16, "uint16" to 16) +
    mapOf("float16" to 16, "bfloat16" to 16, "float32" to 32)

/** Number of weights; each is multiplied once per token. */
private fun numbers(part: Part): Long = part.weightBytes.entries.sumOf { (kind, size) -> size * 8 / (BITS[kind] ?: 32) }

/** The line that describes a bundle. */
internal fun subject(name: String, manifest: Manifest, threads: Int): Map<String, Any?> = mapOf(
    "bundle" to name,
    "seal" to manifest.seal,
    "target" to manifest.target,
    "model" to manifest.model.name,
    "fingerprint" to manifest.model.fingerprint,
    "weights" to (manifest.recipe ?: "float"),
    "threads" to threads,
    "vision_bytes" to manifest.vision.weightBytes.values.sum(),
    "decoder_bytes" to manifest.decoder.weightBytes.values.sum(),
    "cache_bytes_per_token" to manifest.cache.bytesPerToken,
    "vision_products" to numbers(manifest.vision) * (manifest.pictures.tokensPerTile * 4 + 1),
    "decoder_products" to numbers(manifest.decoder),
    "tools" to manifest.tools,
)

/** Width of cached rows relative to plain ones. */
internal fun widened(manifest: Manifest): Double {
    val widths = manifest.cache.keyWidths + manifest.cache.valueWidths
    return maxOf(widths.sum().toDouble() / (widths.size * manifest.model.headDim), 1.0)
}
