package phantom.edge.engine

/** A float of 16 bits as one of 32. */
internal fun fromHalf(half: Short): Float {
    val bits = half.toInt()
    val exponent = bits shr 10 and 31
    val digits = bits and 1023
    val size = when (exponent) {
        0 -> digits * TINY
        31 -> if (digits == 0) Float.POSITIVE_INFINITY else Float.NaN
        else -> Math.scalb((digits + 1024).toFloat(), exponent - 25)
    }
    return if (bits and 0x8000 == 0) size else -size
}

/** The nearest float of 16 bits, of two equally near ones the even one. */
internal fun toHalf(number: Float): Short {
    val bits = java.lang.Float.floatToRawIntBits(number)
    val sign = bits ushr 16 and 0x8000
    val size = bits and 0x7fffffff
    val found = when {
        size > 0x7f800000 -> 0x7e00 // no number
        size >= 0x47800000 -> 0x7c00 // beyond 65536
        size >= 0x38800000 -> rounded(size - (112 shl 23), 13) // 65520 and more become infinite by the carry
        size >= 0x33000000 -> { // a subnormal
            val shift = 126 - (size ushr 23)
            rounded((size and 0x7fffff) or 0x800000, shift)
        }
        else -> 0
    }
    return (sign or found).toShort()
}

private const val TINY = 5.9604645e-8f // 2^-24

private fun rounded(number: Int, shift: Int): Int {
    val half = 1 shl (shift - 1)
    val isOdd = number ushr shift and 1
    return (number + half - 1 + isOdd) ushr shift
}
