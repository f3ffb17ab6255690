package phantom.edge.engine

import java.io.Closeable
import java.io.File

/** One loaded bundle with one cache. Numbers are float32 whatever the graphs compute in. */
internal interface Engine : Closeable {
    /** Image tokens (tokens_per_tile * hidden) of a tile: R, G, B of each pixel, row by row. */
    fun encode(tile: ByteArray): FloatArray

    /** Rows (ids * hidden) of token ids. */
    fun embed(ids: IntArray): FloatArray

    /**
     * Feeds [count] rows, from row [first] of [embeds] on, at positions [start] on. Later entries of the cache are
     * overwritten.
     *
     * Returns logits behind the last row, null where they are not wanted.
     */
    fun forward(embeds: FloatArray, first: Int, count: Int, start: Int, wantsLogits: Boolean): FloatArray?

    /** Ends the records of the runtime's profiler: files of vision and decoder, none where it was not asked for. */
    fun endTraces(): List<File>
}
