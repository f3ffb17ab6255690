package phantom.edge.engine

import phantom.edge.bundle.Embedding
import phantom.edge.bundle.Kind
import java.io.Closeable
import java.io.EOFException
import java.io.File
import java.io.RandomAccessFile
import java.nio.ByteBuffer
import java.nio.ByteOrder

/** Rows of the embedding table, read from its file when they are needed. */
internal class Rows(file: File, private val table: Embedding) : Closeable {
    private val opened = RandomAccessFile(file, "r")
    private val channel = opened.channel
    private val width = table.width

    /** Writes the row of a token, [Embedding.width] numbers in float32, to a place. */
    fun read(id: Int, to: FloatArray, at: Int) {
        val rounded = table.rounded
        if (rounded == null) {
            floats(id, table.offset, width).copyInto(to, at)
            return
        }
        val blocks = (width + rounded.block - 1) / rounded.block
        val integers = stored(id, table.offset, blocks * rounded.block * rounded.bits / 8)
        val scales = floats(id, rounded.scales, blocks)
        val zeros = rounded.zeroPoints?.let { stored(id, it, (blocks * rounded.bits + 7) / 8) }
        for (place in 0 until width) {
            val block = place / rounded.block
            val zero = if (zeros == null) rounded.zeroOffset else integer(zeros, block, rounded.bits)
            to[at + place] = (integer(integers, place, rounded.bits) - zero) * scales[block]
        }
    }

    /** An unsigned integer; of two in a byte, the low half is the first. */
    private fun integer(from: ByteBuffer, place: Int, bits: Int): Int =
        if (bits == 8) from.get(place).toInt() and 255 else from.get(place / 2).toInt() shr (4 * (place % 2)) and 15

    private fun floats(id: Int, offset: Long, count: Int): FloatArray {
        val found = stored(id, offset, count * table.kind.bytes)
        val isHalf = table.kind == Kind.FLOAT16
        return FloatArray(count) { if (isHalf) fromHalf(found.getShort(2 * it)) else found.getFloat(4 * it) }
    }

    private fun stored(id: Int, offset: Long, bytes: Int): ByteBuffer {
        val found = ByteBuffer.allocate(bytes).order(ByteOrder.LITTLE_ENDIAN)
        val start = offset + id.toLong() * bytes
        while (found.hasRemaining()) {
            if (channel.read(found, start + found.position()) < 0) throw EOFException("the table of embeddings ends")
        }
        return found
    }

    override fun close() = opened.close()
}
