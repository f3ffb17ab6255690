package phantom.edge.bundle

import java.nio.ByteBuffer
import java.nio.ByteOrder

private const val BLOCK = 128
private const val DIGEST = 64
private const val ROUNDS = 12

private val START = longArrayOf(
    0x6a09e667f3bcc908,
    -0x4498517a7b3558c5,
    0x3c6ef372fe94f82b,
    -0x5ab00ac5a0e2c90f,
    0x510e527fade682d1,
    -0x64fa9773d4c193e1,
    0x1f83d9abfb41bd6b,
    0x5be0cd19137e2179,
)

private val ORDER = arrayOf(
    intArrayOf(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    intArrayOf(14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3),
    intArrayOf(11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4),
    intArrayOf(7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8),
    intArrayOf(9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13),
    intArrayOf(2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9),
    intArrayOf(12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11),
    intArrayOf(13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10),
    intArrayOf(6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5),
    intArrayOf(10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0),
)

/** BLAKE2b-512 of bytes (RFC 7693), which neither Java nor Android has. */
internal fun blake2b(bytes: ByteArray): ByteArray {
    val state = START.copyOf()
    state[0] = state[0] xor (0x01010000L or DIGEST.toLong())
    var start = 0
    do {
        val end = minOf(start + BLOCK, bytes.size)
        compress(state, bytes.copyOfRange(start, end).copyOf(BLOCK), end.toLong(), end == bytes.size)
        start = end
    } while (start < bytes.size)
    val out = ByteBuffer.allocate(DIGEST).order(ByteOrder.LITTLE_ENDIAN)
    for (word in state) out.putLong(word)
    return out.array()
}

private fun compress(state: LongArray, block: ByteArray, count: Long, isLast: Boolean) {
    val words = LongArray(16)
    ByteBuffer.wrap(block).order(ByteOrder.LITTLE_ENDIAN).asLongBuffer().get(words)
    val v = state + START
    v[12] = v[12] xor count
    if (isLast) v[14] = v[14].inv()
    for (round in 0 until ROUNDS) {
        val order = ORDER[round % ORDER.size]
        for (column in 0..3) {
            mix(v, column, column + 4, column + 8, column + 12, words[order[2 * column]], words[order[2 * column + 1]])
        }
        for (column in 0..3) {
            val (b, c, d) = listOf(4 + (column + 1) % 4, 8 + (column + 2) % 4, 12 + (column + 3) % 4)
            mix(v, column, b, c, d, words[order[8 + 2 * column]], words[order[9 + 2 * column]])
        }
    }
    for (place in state.indices) state[place] = state[place] xor v[place] xor v[place + 8]
}

private fun mix(v: LongArray, a: Int, b: Int, c: Int, d: Int, x: Long, y: Long) {
    v[a] += v[b] + x
    v[d] = java.lang.Long.rotateRight(v[d] xor v[a], 32)
    v[c] += v[d]
    v[b] = java.lang.Long.rotateRight(v[b] xor v[c], 24)
    v[a] += v[b] + y
    v[d] = java.lang.Long.rotateRight(v[d] xor v[a], 16)
    v[c] += v[d]
    v[b] = java.lang.Long.rotateRight(v[b] xor v[c], 63)
}
