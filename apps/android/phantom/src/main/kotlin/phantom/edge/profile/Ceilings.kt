package phantom.edge.profile

import ai.onnxruntime.OnnxJavaType
import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtException
import ai.onnxruntime.OrtSession
import phantom.edge.PhantomError
import phantom.edge.engine.direct
import phantom.edge.engine.ortEnvironment

private const val GRAPH = "/matmul.onnx"
private const val NANOS = 1e9
private const val TRIES = 5
private const val SIDE = 1024
private const val MOST_BYTES = 1L shl 28
private const val FLOAT_BYTES = 4

/** Android counts buffers as heap, so the matrix that is read takes this part of it. */
private const val PART_OF_HEAP = 4

/** The most that the CPU does by ONNX Runtime: bytes/s that it reads, and multiply-adds/s of float32. */
internal class Ceilings(val bandwidth: Double, val products: Double)

/**
 * Measures both by products of two matrices on [threads] threads (0: ONNX Runtime's choice), the best of several.
 *
 * One row times a matrix that is larger than the caches reads the matrix once, as the decoder reads its weights.
 * Raises PhantomError.
 */
internal fun ceilings(threads: Int): Ceilings {
    val environment = ortEnvironment()
    val bytes = checkNotNull(PhantomError::class.java.getResourceAsStream(GRAPH)) { "$GRAPH is not in the library" }
    val graph = bytes.use { it.readBytes() }
    val room = minOf(MOST_BYTES, Runtime.getRuntime().maxMemory() / PART_OF_HEAP)
    val depth = maxOf((room / FLOAT_BYTES / SIDE).toInt(), SIDE)
    return try {
        OrtSession.SessionOptions().use { options ->
            options.setIntraOpNumThreads(threads)
            environment.createSession(graph, options).use { session ->
                val reading = best(environment, session, 1, depth)
                val multiplying = best(environment, session, SIDE, SIDE)
                val read = FLOAT_BYTES.toDouble() * depth * SIDE
                Ceilings(read / reading, SIDE.toDouble() * SIDE * SIDE / multiplying)
            }
        }
    } catch (error: OrtException) {
        throw PhantomError.Failed("ONNX Runtime multiplies no matrices (${error.message})", PhantomError.UPDATE, error)
    }
}

/** Seconds of the fastest product of (rows, depth) and (depth, SIDE). */
private fun best(environment: OrtEnvironment, session: OrtSession, rows: Int, depth: Int): Double =
    ones(environment, rows, depth).use { left ->
        ones(environment, depth, SIDE).use { right ->
            val inputs = mapOf("left" to left, "right" to right)
            List(TRIES) {
                val start = System.nanoTime()
                session.run(inputs).close()
                (System.nanoTime() - start) / NANOS
            }.min()
        }
    }

private fun ones(environment: OrtEnvironment, rows: Int, columns: Int): OnnxTensor {
    val buffer = direct(FLOAT_BYTES * rows * columns)
    val row = FloatArray(columns) { 1f }
    val numbers = buffer.asFloatBuffer()
    repeat(rows) { numbers.put(row) }
    return OnnxTensor.createTensor(
        environment,
        buffer,
        longArrayOf(rows.toLong(), columns.toLong()),
        OnnxJavaType.FLOAT,
    )
}
