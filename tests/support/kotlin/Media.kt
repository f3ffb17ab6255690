// Signatures of Android's classes that programs use, to compile them without its SDK.
package android.media

class ExifInterface(val path: String) {
    fun getAttributeInt(tag: String, otherwise: Int): Int = TODO("$tag $otherwise")

    companion object {
        const val TAG_ORIENTATION = "Orientation"
    }
}
