package phantom.edge.pictures

import phantom.edge.Picture
import java.io.ByteArrayOutputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder

private const val TAG = 0x0112
private const val UPRIGHT = 1
private val XMP = Regex("tiff:Orientation\\s*(?:=\\s*[\"']|>)\\s*([1-8])")

/** The EXIF orientation of an encoded picture, 1 to 8, else that of its XMP; 1 where it has none. */
internal fun orientationOf(bytes: ByteArray): Int {
    val blocks = metadata(bytes)
    val found = blocks.exif?.let { runCatchingBounds { ofTiff(it) } }
    return found ?: blocks.xmp?.let { XMP.find(it)?.groupValues?.get(1)?.toInt() } ?: UPRIGHT
}

private class Metadata(var exif: ByteBuffer? = null, var xmp: String? = null)

/** Null where a damaged file's numbers point outside of it. */
private fun <T> runCatchingBounds(read: () -> T): T? = try {
    read()
} catch (_: IndexOutOfBoundsException) {
    null
} catch (_: IllegalArgumentException) {
    null
}

private fun metadata(bytes: ByteArray): Metadata {
    val found = Metadata()
    runCatchingBounds {
        when {
            Png.isPng(bytes) -> ofPng(bytes, found)
            bytes.size > 2 && bytes[0] == 0xff.toByte() && bytes[1] == 0xd8.toByte() -> ofJpeg(bytes, found)
            startsWith(bytes, 0, "RIFF") && startsWith(bytes, 8, "WEBP") -> ofWebp(bytes, found)
        }
    }
    return found
}

private fun startsWith(bytes: ByteArray, at: Int, text: String): Boolean =
    at + text.length <= bytes.size && text.indices.all { bytes[at + it] == text[it].code.toByte() }

private fun part(bytes: ByteArray, from: Int, size: Int): ByteBuffer = ByteBuffer.wrap(bytes, from, size).slice()

private fun text(bytes: ByteArray, from: Int, size: Int) = String(bytes, from, size, Charsets.UTF_8)

private fun ofPng(bytes: ByteArray, found: Metadata) {
    for (chunk in Png.chunks(bytes)) {
        when (chunk.kind) {
            "eXIf" -> found.exif = part(bytes, chunk.start, chunk.size)
            "iTXt" -> found.xmp = text(bytes, chunk.start, chunk.size).takeIf { "adobe.xmp" in it } ?: found.xmp
        }
    }
}

private const val EXIF = "Exif\u0000\u0000"
private const val ADOBE = "http://ns.adobe.com/xap/1.0/\u0000"

private fun ofJpeg(bytes: ByteArray, found: Metadata) {
    for (segment in jpegSegments(bytes)) {
        if (segment.marker != 0xe1) continue
        if (startsWith(bytes, segment.start, EXIF)) {
            found.exif = found.exif ?: part(bytes, segment.start + EXIF.length, segment.size - EXIF.length)
        } else if (startsWith(bytes, segment.start, ADOBE)) {
            found.xmp = found.xmp ?: text(bytes, segment.start, segment.size)
        }
    }
}

private fun ofWebp(bytes: ByteArray, found: Metadata) {
    val file = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN)
    var at = 12
    while (at + 8 <= bytes.size) {
        val size = file.getInt(at + 4)
        if (size < 0) return
        val start = at + 8
        if (startsWith(bytes, at, "EXIF")) {
            val skipped = if (startsWith(bytes, start, EXIF)) EXIF.length else 0
            found.exif = part(bytes, start + skipped, size - skipped)
        } else if (startsWith(bytes, at, "XMP ")) {
            found.xmp = text(bytes, start, size)
        }
        at = start + size + size % 2
    }
}

/** A segment of a JPEG before its pixels: [start] and [size] are those of its content. */
internal class Segment(val marker: Int, val start: Int, val size: Int)

/** Segments up to the first scan. */
internal fun jpegSegments(bytes: ByteArray): List<Segment> {
    val found = ArrayList<Segment>()
    var at = 2
    while (at + 4 <= bytes.size && bytes[at] == 0xff.toByte()) {
        val marker = bytes[at + 1].toInt() and 255
        if (marker == 0xff) {
            at++
            continue
        }
        val size = (bytes[at + 2].toInt() and 255 shl 8) or (bytes[at + 3].toInt() and 255)
        if (marker == 0xda || size < 2 || at + 2 + size > bytes.size) break
        found.add(Segment(marker, at + 4, size - 2))
        at += 2 + size
    }
    return found
}

private const val ICC = "ICC_PROFILE\u0000"

/** A JPEG without its colour profile, which a platform's decoder would apply. */
internal fun withoutProfile(bytes: ByteArray): ByteArray {
    val profiles = jpegSegments(bytes).filter { it.marker == 0xe2 && startsWith(bytes, it.start, ICC) }
    if (profiles.isEmpty()) return bytes
    val target = ByteArrayOutputStream(bytes.size)
    var end = 0
    for (one in profiles) {
        target.write(bytes, end, one.start - 4 - end)
        end = one.start + one.size
    }
    target.write(bytes, end, bytes.size - end)
    return target.toByteArray()
}

private fun ofTiff(tiff: ByteBuffer): Int? {
    val order = tiff.getShort(0).toInt()
    tiff.order(if (order == 0x4949) ByteOrder.LITTLE_ENDIAN else ByteOrder.BIG_ENDIAN)
    val entries = tiff.getInt(4)
    val count = tiff.getShort(entries).toInt() and 0xffff
    for (number in 0 until count) {
        val at = entries + 2 + 12 * number
        if (tiff.getShort(at).toInt() and 0xffff != TAG) continue
        val value = tiff.getShort(at + 8).toInt() // a short, in the first bytes of the field
        return value.takeIf { it in 1..8 }
    }
    return null
}

/** The picture turned upright by its EXIF orientation, 1 to 8. */
internal fun Picture.turned(orientation: Int): Picture {
    if (orientation == UPRIGHT) return this
    val isTurned = orientation >= 5
    val wide = if (isTurned) height else width
    val high = if (isTurned) width else height
    val isMirroredAcross = orientation in intArrayOf(2, 3, 7, 8)
    val isMirroredDown = orientation in intArrayOf(3, 4, 6, 7)
    val colours = ByteArray(rgb.size)
    val opacity = alpha?.let { ByteArray(it.size) }
    var target = 0
    for (y in 0 until high) {
        for (x in 0 until wide) {
            val across = if (isTurned) y else x
            val down = if (isTurned) x else y
            val column = if (isMirroredAcross) width - 1 - across else across
            val row = if (isMirroredDown) height - 1 - down else down
            val source = row * width + column
            for (channel in 0..2) colours[3 * target + channel] = rgb[3 * source + channel]
            if (opacity != null) opacity[target] = alpha[source]
            target++
        }
    }
    return Picture(wide, high, colours, opacity)
}
