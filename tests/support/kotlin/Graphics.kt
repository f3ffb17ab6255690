// Signatures of Android's classes that programs use, to compile them without its SDK.
package android.graphics

class ColorSpace {
    enum class Named { SRGB }

    companion object {
        @JvmStatic fun get(name: Named): ColorSpace = TODO("$name")
    }
}

class Bitmap {
    val width: Int = 0
    val height: Int = 0
    fun getPixels(pixels: IntArray, offset: Int, stride: Int, x: Int, y: Int, width: Int, height: Int): Unit = TODO()
}

object BitmapFactory {
    class Options {
        @JvmField var inPremultiplied: Boolean = true
        @JvmField var inScaled: Boolean = true
        @JvmField var inPreferredColorSpace: ColorSpace? = null
    }

    @JvmStatic fun decodeFile(path: String, options: Options): Bitmap? = TODO(path)
}
