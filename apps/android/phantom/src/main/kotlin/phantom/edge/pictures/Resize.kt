package phantom.edge.pictures

import kotlin.math.abs
import kotlin.math.max
import kotlin.math.min

private const val CUBIC_A = -0.5
private const val SHIFT = 22

/** Integer weights of pixels from the [first] on. */
private class Weights(val first: Int, val integers: IntArray)

private fun cubic(distance: Double): Double {
    val x = abs(distance)
    return when {
        x < 1 -> ((CUBIC_A + 2) * x - (CUBIC_A + 3)) * x * x + 1
        x < 2 -> (((x - 5) * x + 8) * x - 4) * CUBIC_A
        else -> 0.0
    }
}

private fun weights(from: Int, to: Int): List<Weights> {
    val scale = from.toDouble() / to
    val wide = max(scale, 1.0)
    val support = 2 * wide
    return List(to) { place ->
        val center = (place + 0.5) * scale
        val first = max((center - support + 0.5).toInt(), 0)
        val last = min((center + support + 0.5).toInt(), from)
        val real = DoubleArray(last - first) { cubic((first + it - center + 0.5) * (1 / wide)) }
        var sum = 0.0
        for (one in real) sum += one
        val integers = IntArray(real.size) {
            val share = real[it] / sum
            (share * (1 shl SHIFT) + if (share < 0) -0.5 else 0.5).toInt()
        }
        Weights(first, integers)
    }
}

/**
 * Bytes resampled along one axis, as Pillow's bicubic does it. [step] and [stride] are bytes between pixels of a line,
 * and between lines; [newStep] and [newStride] the same in the result.
 */
private fun resampled(
    source: ByteArray,
    from: Int,
    to: Int,
    lines: Int,
    step: Int,
    stride: Int,
    newStep: Int,
    newStride: Int,
): ByteArray {
    val target = ByteArray(3 * lines * to)
    val all = weights(from, to)
    for (line in 0 until lines) {
        for (place in 0 until to) {
            val weights = all[place]
            var at = line * stride + weights.first * step
            var red = 1 shl (SHIFT - 1)
            var green = red
            var blue = red
            for (weight in weights.integers) {
                red += weight * (source[at].toInt() and 255)
                green += weight * (source[at + 1].toInt() and 255)
                blue += weight * (source[at + 2].toInt() and 255)
                at += step
            }
            val end = line * newStride + place * newStep
            target[end] = clipped(red)
            target[end + 1] = clipped(green)
            target[end + 2] = clipped(blue)
        }
    }
    return target
}

private fun clipped(sum: Int): Byte = (sum shr SHIFT).coerceIn(0, 255).toByte()

/** Pixels (R, G, B for each, row by row) in another size: the horizontal pass first, rounded to 8 bits. */
internal fun resized(rgb: ByteArray, width: Int, height: Int, newWidth: Int, newHeight: Int): ByteArray {
    val across = if (width == newWidth) {
        rgb
    } else {
        resampled(rgb, width, newWidth, height, 3, 3 * width, 3, 3 * newWidth)
    }
    if (height == newHeight) return across
    return resampled(across, height, newHeight, newWidth, 3 * newWidth, 3, 3 * newWidth, 3)
}
