package phantom.edge

import phantom.edge.pictures.Png
import phantom.edge.pictures.orientationOf
import phantom.edge.pictures.readYuv
import phantom.edge.pictures.turned

/**
 * A picture in memory: upright pixels of 8 bits a channel, without colour management.
 *
 * On Android see also the package `phantom.edge.android`: `Picture.of(bitmap)`, `Picture.of(image, rotation)` and
 * `Picture.of(bytes)`.
 *
 * @property width Width in pixels.
 * @property height Height in pixels.
 */
public class Picture internal constructor(
    public val width: Int,
    public val height: Int,
    /** R, G and B of each pixel, row by row. */
    internal val rgb: ByteArray,
    /** Opacity of each pixel, null where all are opaque. */
    internal val alpha: ByteArray? = null,
) {
    init {
        require(rgb.size == 3 * width * height && (alpha == null || alpha.size == width * height))
    }

    /** Opaque pixels (R, G, B for each, row by row), laid over a colour. */
    internal fun over(background: IntArray): ByteArray {
        if (alpha == null) return rgb
        return ByteArray(rgb.size) {
            val opacity = alpha[it / 3].toInt() and 255
            val behind = background[it % 3] * (255 - opacity)
            (((rgb[it].toInt() and 255) * opacity + behind + 127) / 255).toByte() // an odd divisor: no ties
        }
    }

    /** Decodes the formats that a platform knows; PNG is decoded by this library itself, alike everywhere. */
    public fun interface Decoder {
        /** The pixels as they are stored, not turned by EXIF; null for bytes that are no picture. */
        public fun decode(bytes: ByteArray): Picture?
    }

    /** Rotation, clockwise, that makes a camera's picture upright. */
    public enum class Rotation(internal val orientation: Int) {
        /** None. */
        NONE(1),

        /** By 90 degrees. */
        CLOCKWISE(6),

        /** By 180 degrees. */
        HALF(3),

        /** By 270 degrees. */
        COUNTERCLOCKWISE(8),
        ;

        public companion object {
            /** The rotation by so many degrees, clockwise, a multiple of 90. */
            public fun ofDegrees(degrees: Int): Rotation {
                if (degrees % 90 != 0) {
                    throw PhantomError.BadPicture("a rotation by $degrees degrees", "give 0, 90, 180 or 270")
                }
                return values()[Math.floorMod(degrees / 90, 4)]
            }
        }
    }

    /**
     * A plane of a camera's picture.
     *
     * @property bytes Its bytes; those before the first pixel are skipped by [offset].
     * @property rowStride Bytes from a row to the next one.
     * @property pixelStride Bytes from a pixel to the next one.
     */
    public class Plane(
        public val bytes: ByteArray,
        public val rowStride: Int,
        public val pixelStride: Int = 1,
        public val offset: Int = 0,
    )

    public companion object {
        /** Largest number of pixels: more would fill a phone's memory. */
        public const val MOST_PIXELS: Int = 1 shl 26

        /**
         * Decodes an encoded picture, turns it as EXIF says, and keeps its transparency.
         *
         * [decoder] reads what is no PNG. Raises [PhantomError.BadPicture].
         */
        public fun decode(bytes: ByteArray, decoder: Decoder? = null): Picture {
            if (bytes.isEmpty()) throw PhantomError.BadPicture("the picture is empty: 0 bytes", SAVE_AS)
            val stored = if (Png.isPng(bytes)) Png(bytes).decode() else decoder?.decode(bytes)
            stored ?: throw PhantomError.BadPicture("the picture of ${bytes.size} bytes is of no known format", SAVE_AS)
            return stored.turned(orientationOf(bytes))
        }

        /** A picture of raw pixels: R, G and B of each in 8 bits, row by row without gaps. */
        public fun ofRgb(width: Int, height: Int, pixels: ByteArray): Picture {
            checkSize(width, height, pixels.size, 3)
            return Picture(width, height, pixels.copyOf())
        }

        /** A picture of raw pixels: R, G, B and opacity (not premultiplied) in 8 bits, row by row without gaps. */
        public fun ofRgba(width: Int, height: Int, pixels: ByteArray): Picture {
            checkSize(width, height, pixels.size, 4)
            val alpha = ByteArray(width * height) { pixels[4 * it + 3] }
            val rgb = ByteArray(3 * width * height) { pixels[it / 3 * 4 + it % 3] }
            return Picture(width, height, rgb, alpha.takeIf { all -> all.any { it != OPAQUE } })
        }

        /**
         * A camera's picture: planes of luma and, of half its width and height, of blue and red differences (BT.601 in
         * the full range, as `YUV_420_888` and JPEG have it), upright after [rotation].
         */
        public fun ofYuv(
            width: Int,
            height: Int,
            luma: Plane,
            blue: Plane,
            red: Plane,
            rotation: Rotation = Rotation.NONE,
        ): Picture {
            checkSize(width, height)
            return readYuv(width, height, luma, blue, red).turned(rotation.orientation)
        }

        internal fun checkSize(width: Int, height: Int) {
            if (width < 1 || height < 1) {
                throw PhantomError.BadPicture("the picture has no pixels: $width x $height", "give at least 1 x 1")
            }
            if (width.toLong() * height > MOST_PIXELS) {
                throw PhantomError.BadPicture("a picture of $width x $height is too large", "make it smaller first")
            }
        }

        private fun checkSize(width: Int, height: Int, bytes: Int, channels: Int) {
            checkSize(width, height)
            if (bytes.toLong() != channels.toLong() * width * height) {
                throw PhantomError.BadPicture(
                    "$bytes bytes are no $width x $height pixels of $channels channels",
                    "give ${channels.toLong() * width * height} bytes",
                )
            }
        }

        private const val SAVE_AS = "save it as PNG or JPEG"
        private const val OPAQUE: Byte = -1
    }
}
