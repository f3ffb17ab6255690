package phantom.edge.android

import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.graphics.ImageFormat
import android.media.Image
import phantom.edge.PhantomError
import phantom.edge.Picture
import phantom.edge.pictures.withoutProfile
import java.nio.ByteBuffer

/** A bitmap's pixels, its transparency included. It must not be recycled meanwhile. */
public fun Picture.Companion.of(bitmap: Bitmap): Picture {
    val width = bitmap.width
    val height = bitmap.height
    checkSize(width, height)
    val software = if (bitmap.config == Bitmap.Config.ARGB_8888) bitmap else bitmap.copy(Bitmap.Config.ARGB_8888, false)
    software ?: throw PhantomError.BadPicture("a bitmap of ${bitmap.config} has no pixels", "copy it to ARGB_8888")
    val line = IntArray(width)
    val rgb = ByteArray(3 * width * height)
    val alpha = if (software.hasAlpha()) ByteArray(width * height) else null
    for (y in 0 until height) {
        software.getPixels(line, 0, width, 0, y, width, 1) // not premultiplied
        for (x in 0 until width) {
            val at = y * width + x
            val pixel = line[x]
            rgb[3 * at] = (pixel shr 16).toByte()
            rgb[3 * at + 1] = (pixel shr 8).toByte()
            rgb[3 * at + 2] = pixel.toByte()
            alpha?.set(at, (pixel ushr 24).toByte())
        }
    }
    return Picture(width, height, rgb, alpha)
}

/**
 * An encoded picture, turned as EXIF says: PNG, and what Android decodes (JPEG, WebP, HEIF, GIF and more).
 *
 * Raises [PhantomError.BadPicture].
 */
public fun Picture.Companion.of(encoded: ByteArray): Picture = decode(encoded, BitmapDecoder)

/**
 * A camera's picture of format `YUV_420_888`, upright after [rotation], its crop rectangle applied.
 *
 * The image may be closed afterwards. Raises [PhantomError.BadPicture] for other formats.
 */
public fun Picture.Companion.of(image: Image, rotation: Picture.Rotation): Picture {
    if (image.format != ImageFormat.YUV_420_888) {
        throw PhantomError.BadPicture("a camera's image of format ${image.format}", "choose ImageFormat.YUV_420_888")
    }
    val crop = image.cropRect
    val left = crop.left / 2 * 2 // differences have half the resolution
    val top = crop.top / 2 * 2
    val (luma, blue, red) = image.planes.mapIndexed { number, plane ->
        val shift = if (number == 0) 1 else 2
        val offset = top / shift * plane.rowStride + left / shift * plane.pixelStride
        Picture.Plane(bytesOf(plane.buffer), plane.rowStride, plane.pixelStride, offset)
    }
    return ofYuv(crop.right - left, crop.bottom - top, luma, blue, red, rotation)
}

private fun bytesOf(buffer: ByteBuffer): ByteArray {
    val copy = buffer.duplicate()
    copy.rewind()
    return ByteArray(copy.remaining()).also { copy.get(it) }
}

/** Android's own decoders, without premultiplication, scaling and a JPEG's colour profile. */
internal object BitmapDecoder : Picture.Decoder {
    override fun decode(bytes: ByteArray): Picture? {
        val options = BitmapFactory.Options()
        options.inPremultiplied = false
        options.inScaled = false
        options.inPreferredConfig = Bitmap.Config.ARGB_8888
        val plain = withoutProfile(bytes)
        options.inJustDecodeBounds = true
        BitmapFactory.decodeByteArray(plain, 0, plain.size, options)
        if (options.outWidth <= 0) return null
        Picture.checkSize(options.outWidth, options.outHeight)
        options.inJustDecodeBounds = false
        val bitmap = BitmapFactory.decodeByteArray(plain, 0, plain.size, options) ?: return null
        try {
            return Picture.of(bitmap)
        } finally {
            bitmap.recycle()
        }
    }
}
