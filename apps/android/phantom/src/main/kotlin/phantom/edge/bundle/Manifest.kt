package phantom.edge.bundle

/** A number format of the manifest, and the bytes of a number. */
internal enum class Kind(val bytes: Int) {
    FLOAT32(4),
    FLOAT16(2),
    INT16(2),
    INT64(8),
    INT32(4),
    INT8(1),
    UINT8(1),
    ;

    val word: String = name.lowercase()

    companion object {
        val words: Array<String> = values().map { it.word }.toTypedArray()

        fun of(word: String): Kind = values().first { it.word == word }
    }
}

internal class Model(
    val name: String,
    val fingerprint: String,
    val hidden: Int,
    val layers: Int,
    val heads: Int,
    val kvHeads: Int,
    val headDim: Int,
    val vocabulary: Int,
)

/** An input or output of a graph; a dimension that differs from run to run is null. */
internal data class Port(val name: String, val shape: List<Long?>, val kind: Kind)

internal class Part(
    val file: String,
    val weights: List<String>,
    val weightBytes: Map<String, Long>,
    val inputs: List<Port>,
    val outputs: List<Port>,
)

/** Rows of integers: a number is (integer - zero point) * scale. */
internal class Rounded(val bits: Int, val block: Int, val scales: Long, val zeroPoints: Long?, val zeroOffset: Int)

internal class Embedding(
    val file: String,
    val offset: Long,
    val rows: Int,
    val width: Int,
    val kind: Kind,
    val rounded: Rounded?,
)

/** A buffer of the cache: the graphs read `past_NAME` and write `new_NAME`. */
internal data class Buffer(val name: String, val width: Int, val kind: Kind)

internal class Cache(
    val layers: Int,
    val kvHeads: Int,
    val plainWidth: Int,
    val keyWidths: IntArray,
    val valueWidths: IntArray,
    val kind: Kind,
    val maxContext: Int,
    val layout: String,
    val positions: String,
    val rounded: Boolean,
    val together: Boolean,
    val firstRow: String?,
) {
    val buffers: List<Buffer> = List(layers) { it }.flatMap { layer ->
        val stored = if (rounded) Kind.INT8 else kind
        val rows = List(kvHeads) { it }.flatMap { head ->
            listOf(
                Buffer("key.$layer.$head", keyWidths[layer], stored),
                Buffer("value.$layer.$head", valueWidths[layer], stored),
            )
        }
        if (rounded) rows + Buffer("scale.$layer", 2 * kvHeads, kind) else rows
    }

    val bytesPerToken: Long = buffers.sumOf { it.width.toLong() * it.kind.bytes }
}

internal class Pictures(
    val tileSize: Int,
    val minTiles: Int,
    val maxTiles: Int,
    val thumbnail: Boolean,
    val mean: FloatArray,
    val std: FloatArray,
    val tokensPerTile: Int,
    val grids: List<IntArray>,
    val tieArea: Double,
    val background: IntArray,
)

internal class ImageMarks(val mark: String, val start: String, val context: String, val end: String)

internal class Turn(val before: String, val after: String)

internal class Turns(val roles: Map<String, Turn>, val generation: String)

internal class Prompt(
    val tokenizer: String,
    val chatTemplate: String,
    val firstToken: Int,
    val imageToken: Int,
    val stopTokens: IntArray,
    val images: ImageMarks,
    val reserved: List<String>,
    val specialTokens: Map<String, Int>,
    val turns: Turns?,
)

internal class Generation(
    val repetitionPenalty: Double,
    val noRepeatNgram: Int,
    val minLength: Int,
    val minNewTokens: Int,
    val suppressTokens: IntArray,
    val beginSuppressTokens: IntArray,
)

internal class ListedFile(val bytes: Long, val sha256: String)

/** Numbers of the phantom part that a layer keeps. */
internal class Ranks(val key: Int, val value: Int)

/** `phantom.json`: everything that a program needs to run a bundle. */
internal class Manifest(
    val target: String,
    val model: Model,
    val parts: Map<String, Part>,
    val embedding: Embedding?,
    val cache: Cache,
    val pictures: Pictures,
    val prompt: Prompt,
    val generation: Generation,
    val phantom: List<Ranks>,
    val prefillChunk: Int,
    val tools: Map<String, String>,
    val files: Map<String, ListedFile>,
    val seal: String,
    val golden: String?,
    val recipe: String?,
    val card: String?,
) {
    val vision: Part get() = parts.getValue("vision")

    val decoder: Part get() = parts.getValue("decoder")

    /** Bytes that the bundle needs at least while it runs: its weights, a full cache, and the runtime. */
    val leastMemory: Long
        get() = parts.values.sumOf { it.weightBytes.values.sum() } + cache.bytesPerToken * cache.maxContext + RUNTIME

    private companion object {
        const val RUNTIME = 50_000_000L
    }
}
