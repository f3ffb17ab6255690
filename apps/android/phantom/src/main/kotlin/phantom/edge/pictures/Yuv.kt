package phantom.edge.pictures

import phantom.edge.PhantomError
import phantom.edge.Picture

private const val HALF = 1 shl 15
private const val RED = 91881 // 1.402 * 2^16
private const val GREEN_BLUE = 22554 // 0.344136
private const val GREEN_RED = 46802 // 0.714136
private const val BLUE = 116130 // 1.772

/** Pixels of a camera's planes; the differences are those of the nearest pixel, of half the width and height. */
internal fun readYuv(width: Int, height: Int, luma: Picture.Plane, blue: Picture.Plane, red: Picture.Plane): Picture {
    check(luma, width, height)
    check(blue, (width + 1) / 2, (height + 1) / 2)
    check(red, (width + 1) / 2, (height + 1) / 2)
    val rgb = ByteArray(3 * width * height)
    var at = 0
    for (y in 0 until height) {
        for (x in 0 until width) {
            val light = (byteAt(luma, x, y) shl 16) + HALF
            val toBlue = byteAt(blue, x / 2, y / 2) - 128
            val toRed = byteAt(red, x / 2, y / 2) - 128
            rgb[at++] = clipped(light + RED * toRed)
            rgb[at++] = clipped(light - GREEN_BLUE * toBlue - GREEN_RED * toRed)
            rgb[at++] = clipped(light + BLUE * toBlue)
        }
    }
    return Picture(width, height, rgb)
}

private fun byteAt(plane: Picture.Plane, x: Int, y: Int): Int =
    plane.bytes[plane.offset + y * plane.rowStride + x * plane.pixelStride].toInt() and 255

private fun clipped(sum: Int): Byte = (sum shr 16).coerceIn(0, 255).toByte()

private fun check(plane: Picture.Plane, width: Int, height: Int) {
    val last = plane.offset + (height - 1L) * plane.rowStride + (width - 1L) * plane.pixelStride
    if (plane.offset < 0 || plane.rowStride < 0 || plane.pixelStride < 0 || last >= plane.bytes.size) {
        throw PhantomError.BadPicture(
            "a plane of ${plane.bytes.size} bytes has no $width x $height pixels",
            "give the strides of the camera's own plane",
        )
    }
}
