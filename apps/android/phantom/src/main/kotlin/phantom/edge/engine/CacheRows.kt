package phantom.edge.engine

import ai.onnxruntime.OnnxJavaType
import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import phantom.edge.bundle.Buffer
import phantom.edge.bundle.Kind
import java.nio.ByteBuffer
import java.nio.ByteOrder

internal val TYPES: Map<Kind, OnnxJavaType> = mapOf(
    Kind.FLOAT32 to OnnxJavaType.FLOAT,
    Kind.FLOAT16 to OnnxJavaType.FLOAT16,
    Kind.INT64 to OnnxJavaType.INT64,
    Kind.INT8 to OnnxJavaType.INT8,
    Kind.UINT8 to OnnxJavaType.UINT8,
)

internal fun direct(bytes: Int): ByteBuffer = ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder())

/**
 * A buffer of the cache outside of the heap. Its filled part is an input of the decoder, and the decoder writes new rows
 * right behind it, so no row is ever copied but where the buffer grows.
 */
internal class CacheRows(private val buffer: Buffer, private val most: Int) {
    val pastName = "past_${buffer.name}"
    val newName = "new_${buffer.name}"
    private val type = TYPES.getValue(buffer.kind)
    private val rowBytes = buffer.width * buffer.kind.bytes
    private var room = minOf(FIRST_ROWS, most)
    private var rows = direct(room * rowBytes)

    /** Makes room for so many rows: Android counts these bytes as heap, so short conversations take few. */
    fun grow(count: Int) {
        if (count <= room) return
        room = minOf(maxOf(2 * room, count), most)
        val old = rows
        old.position(0).limit(old.capacity())
        rows = direct(room * rowBytes)
        rows.put(old)
    }

    fun past(environment: OrtEnvironment, filled: Int): OnnxTensor = tensor(environment, 0, filled)

    fun new(environment: OrtEnvironment, filled: Int, count: Int): OnnxTensor = tensor(environment, filled, count)

    private fun tensor(environment: OrtEnvironment, from: Int, count: Int): OnnxTensor {
        rows.limit((from + count) * rowBytes)
        rows.position(from * rowBytes)
        val shape = longArrayOf(count.toLong(), buffer.width.toLong())
        return OnnxTensor.createTensor(environment, rows, shape, type)
    }

    private companion object {
        const val FIRST_ROWS = 256
    }
}
