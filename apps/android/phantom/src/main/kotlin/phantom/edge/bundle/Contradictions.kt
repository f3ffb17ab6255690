package phantom.edge.bundle

import phantom.edge.json.Fields

/** Refuses a manifest of which two places contradict each other. */
internal fun Fields.contradictions(manifest: Manifest) {
    val model = manifest.model
    val cache = manifest.cache
    val prompt = manifest.prompt
    val table = manifest.embedding
    val suppressed = manifest.generation.suppressTokens + manifest.generation.beginSuppressTokens
    val tokens = intArrayOf(prompt.firstToken, prompt.imageToken) + prompt.stopTokens + suppressed
    val ids = 0 until model.vocabulary
    val hasFixedShapes = "prefill" in manifest.parts || "head" in manifest.parts
    val needed = listOf("vision", "decoder") + if (hasFixedShapes) listOf("prefill", "head") else listOf()
    rules(
        "parts" to (manifest.parts.keys.containsAll(needed) && (table != null || "embedding" in manifest.parts)),
        "prefill_chunk" to (manifest.prefillChunk in 1..cache.maxContext),
        "embedding" to (table == null || fits(table, manifest)),
        "cache" to fits(cache, manifest),
        "prompt" to tokens.all { it in ids },
        "special_tokens" to prompt.specialTokens.values.all { it in ids },
        "ports" to (
            hasFixedShapes || cache.together ||
                manifest.parts.values.all { part -> (part.inputs + part.outputs).all { fits(it, manifest) } }
            ),
        "first_row" to (manifest.files[cache.firstRow]?.let { it.bytes == cache.bytesPerToken } ?: true),
    )
}

private fun fits(table: Embedding, manifest: Manifest): Boolean {
    val model = manifest.model
    val bytes = manifest.files[table.file]?.bytes
    return table.rows == model.vocabulary && table.width == model.hidden && (bytes == null || table.end() <= bytes)
}

private fun Embedding.end(): Long {
    if (rounded == null) return offset + rows.toLong() * width * kind.bytes
    val blocks = (width + rounded.block - 1) / rounded.block
    return listOfNotNull(
        offset + rows.toLong() * blocks * rounded.block * rounded.bits / 8,
        rounded.scales + rows.toLong() * blocks * kind.bytes,
        rounded.zeroPoints?.let { it + rows.toLong() * ((blocks * rounded.bits + 7) / 8) },
    ).max()
}

private fun fits(cache: Cache, manifest: Manifest): Boolean {
    val model = manifest.model
    val layers = manifest.phantom
    val isOfModel = cache.layers == model.layers && cache.kvHeads == model.kvHeads && cache.plainWidth == model.headDim
    return isOfModel && layers.size == cache.layers && layers.withIndex().all { (number, layer) ->
        val own = listOf(model.headDim + layer.key, model.headDim + layer.value)
        val found = listOf(cache.keyWidths[number], cache.valueWidths[number])
        found == own || found == List(2) { own.max() }
    }
}

/** True unless a port's width contradicts the rest of the manifest. */
private fun fits(port: Port, manifest: Manifest): Boolean {
    val cache = manifest.cache
    val hidden = manifest.model.hidden.toLong()
    val side = manifest.pictures.tileSize.toLong()
    val behind = port.shape.drop(1)
    val (time, name) = port.name.split("_", limit = 2).let { it[0] to it.getOrElse(1) { "" } }
    if (time == "past" || time == "new") {
        val buffer = cache.buffers.find { it.name == name }
        return buffer != null && behind == listOf(buffer.width.toLong()) && port.kind == buffer.kind
    }
    val width = when (port.name) {
        "pixel_values", "pixels" -> listOf(3, side, side)
        "image_tokens", "inputs_embeds" -> listOf(hidden)
        "logits" -> listOf(manifest.model.vocabulary.toLong())
        else -> return true
    }
    val isWide = behind == width || (port.shape.firstOrNull() == 1L && port.shape.drop(2) == width)
    return isWide && port.kind == (if (port.name == "pixels") Kind.UINT8 else cache.kind)
}
