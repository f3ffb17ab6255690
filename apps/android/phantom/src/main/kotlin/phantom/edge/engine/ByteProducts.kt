package phantom.edge.engine

import ai.onnxruntime.OnnxJavaType
import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtSession
import ai.onnxruntime.TensorInfo
import phantom.edge.PhantomError
import kotlin.math.abs

private const val GRAPH = "/byte_products.onnx"
private const val LARGEST = 127 * (255 - 1)

/**
 * Refuses to run products of bytes on a CPU where ONNX Runtime gets them wrong.
 *
 * x86 without VNNI adds pairs of products in 16 bits, which overflow in silence. ONNX Runtime 1.31 has an exact mode for
 * such CPUs, `session.x64quantprecision`; 1.28 and 1.29, the latest for Java, abort the process when they load these
 * graphs in that mode. So a product of the largest bytes is computed, and phones, where it is right, are not concerned.
 */
internal fun checkByteProducts(environment: OrtEnvironment) {
    val bytes = checkNotNull(PhantomError::class.java.getResourceAsStream(GRAPH)) { "$GRAPH is not in the library" }
    val graph = bytes.use { it.readBytes() }
    val isExact = OrtSession.SessionOptions().use { options ->
        options.setIntraOpNumThreads(1)
        environment.createSession(graph, options).use { session -> intArrayOf(1, 5, 64).all { isExact(session, it) } }
    }
    if (!isExact) {
        throw PhantomError.Unsupported(
            "ONNX Runtime multiplies bytes wrongly on this CPU, an x86 without VNNI",
            "use a bundle of floats here: phantom-edge export --weights fp32",
        )
    }
}

private fun isExact(session: OrtSession, rows: Int): Boolean {
    val depth = (session.inputInfo.getValue("x").info as TensorInfo).shape[1].toInt()
    val numbers = direct(rows * depth)
    for (place in 0 until rows * depth) numbers.put((if (place % depth / 4 % 2 == 0) 255 else 1).toByte())
    numbers.flip()
    val shape = longArrayOf(rows.toLong(), depth.toLong())
    val environment = ortEnvironment()
    return OnnxTensor.createTensor(environment, numbers, shape, OnnxJavaType.UINT8).use { x ->
        session.run(mapOf("x" to x)).use { found ->
            val products = (found.get(0) as OnnxTensor).floatBuffer
            val right = (LARGEST * depth / 2).toFloat() // exact: below 2^24
            (0 until products.remaining()).all { abs(products.get(it)) == right }
        }
    }
}
