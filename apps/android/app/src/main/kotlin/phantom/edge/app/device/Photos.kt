package phantom.edge.app.device

import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.graphics.Matrix
import android.media.ExifInterface
import phantom.edge.Picture
import phantom.edge.android.of
import java.io.ByteArrayInputStream
import java.io.IOException

private const val MOST_PIXELS = 16_000_000L

/**
 * A photo for the model. Raises PhantomError.BadPicture.
 *
 * One of more than 16 megapixels is decoded at a half, a quarter and so on of its width: whole it could fill an app's
 * memory, and the model sees a few tiles of it.
 */
internal fun readPhoto(bytes: ByteArray): Picture {
    val options = BitmapFactory.Options()
    options.inJustDecodeBounds = true
    BitmapFactory.decodeByteArray(bytes, 0, bytes.size, options)
    val pixels = options.outWidth.toLong() * options.outHeight
    if (pixels <= MOST_PIXELS) return Picture.of(bytes) // what Android does not know, too: the library says so
    var sample = 1
    while (pixels / sample / sample > MOST_PIXELS) sample *= 2
    options.inJustDecodeBounds = false
    options.inSampleSize = sample
    val bitmap = BitmapFactory.decodeByteArray(bytes, 0, bytes.size, options) ?: return Picture.of(bytes)
    val upright = Bitmap.createBitmap(bitmap, 0, 0, bitmap.width, bitmap.height, uprightBy(orientation(bytes)), false)
    return Picture.of(upright)
}

private fun orientation(bytes: ByteArray): Int = try {
    ExifInterface(ByteArrayInputStream(bytes)).getAttributeInt(ExifInterface.TAG_ORIENTATION, 1)
} catch (_: IOException) { // a format without EXIF
    1
}

/** The turn that makes a picture of an EXIF orientation upright. */
private fun uprightBy(orientation: Int): Matrix {
    val matrix = Matrix()
    when (orientation) {
        2 -> matrix.setScale(-1f, 1f)

        3 -> matrix.setRotate(180f)

        4 -> matrix.setScale(1f, -1f)

        5 -> matrix.setRotate(90f).also { matrix.postScale(-1f, 1f) }

        6 -> matrix.setRotate(90f)

        7 -> matrix.setRotate(270f).also { matrix.postScale(-1f, 1f) }

        8 -> matrix.setRotate(270f)
    }
    return matrix
}
