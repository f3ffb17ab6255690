package phantom.edge.text

/**
 * Bytes as a text, where every longest part of a sequence that is no UTF-8 becomes one U+FFFD.
 *
 * So does Rust's `String::from_utf8_lossy`, which `tokenizers` uses; decoders of some platforms write more of them.
 */
internal fun lossyText(bytes: ByteArray): String {
    val text = StringBuilder(bytes.size)
    var at = 0
    while (at < bytes.size) {
        val length = sequenceAt(bytes, at)
        if (length > 0) {
            text.appendCodePoint(codePoint(bytes, at, length))
            at += length
        } else {
            text.append(REPLACEMENT)
            at -= length
        }
    }
    return text.toString()
}

/** Bytes as a text, null where they are no UTF-8. */
internal fun textOrNull(bytes: ByteArray): String? {
    val text = StringBuilder(bytes.size)
    var at = 0
    while (at < bytes.size) {
        val length = sequenceAt(bytes, at)
        if (length < 0) return null
        text.appendCodePoint(codePoint(bytes, at, length))
        at += length
    }
    return text.toString()
}

internal const val REPLACEMENT = '\ufffd'

/** Length of the letter at a place; where there is none, minus the length of the longest part of one. */
private fun sequenceAt(bytes: ByteArray, at: Int): Int {
    val first = bytes[at].toInt() and 255
    val length = when (first) {
        in 0x00..0x7f -> return 1
        in 0xc2..0xdf -> 2
        in 0xe0..0xef -> 3
        in 0xf0..0xf4 -> 4
        else -> return -1
    }
    val second = when (first) {
        0xe0 -> 0xa0..0xbf
        0xed -> 0x80..0x9f
        0xf0 -> 0x90..0xbf
        0xf4 -> 0x80..0x8f
        else -> 0x80..0xbf
    }
    for (place in 1 until length) {
        val byte = if (at + place < bytes.size) bytes[at + place].toInt() and 255 else return -place
        if (byte !in (if (place == 1) second else 0x80..0xbf)) return -place
    }
    return length
}

private fun codePoint(bytes: ByteArray, at: Int, length: Int): Int {
    if (length == 1) return bytes[at].toInt()
    var found = bytes[at].toInt() and (0xff shr (length + 1))
    for (place in 1 until length) found = found shl 6 or (bytes[at + place].toInt() and 63)
    return found
}
