// Decodes pictures on Android.
import android.graphics.BitmapFactory
import android.graphics.ColorSpace
import android.media.ExifInterface
import java.io.File

/** A picture's pixels: upright, opaque, in 8 bits. */
fun decoded(file: File, background: List<Double>): Picture {
    val settings = BitmapFactory.Options().apply {
        inPremultiplied = false
        inScaled = false
        inPreferredColorSpace = ColorSpace.get(ColorSpace.Named.SRGB)
    }
    val bitmap = checkNotNull(BitmapFactory.decodeFile(file.path, settings)) { "$file is no picture" }
    val pixels = IntArray(bitmap.width * bitmap.height)
    bitmap.getPixels(pixels, 0, bitmap.width, 0, 0, bitmap.width, bitmap.height)
    val rgb = ByteArray(3 * pixels.size) {
        val value = pixels[it / 3] ushr (16 - 8 * (it % 3)) and 255
        blended(value, pixels[it / 3] ushr 24, background[it % 3].toInt()).toByte()
    }
    val orientation = ExifInterface(file.path).getAttributeInt(ExifInterface.TAG_ORIENTATION, 1)
    return Picture(bitmap.width, bitmap.height, rgb).upright(orientation)
}
