package phantom.edge.pictures

import phantom.edge.PhantomError
import phantom.edge.Picture
import java.nio.ByteBuffer
import java.util.zip.DataFormatException
import java.util.zip.Inflater
import kotlin.math.abs

/** A chunk of a PNG: [start] and [size] are those of its content. */
internal class Chunk(val kind: String, val start: Int, val size: Int)

/**
 * Decoder of PNG: every colour type and depth, interlaced or not, without colour management.
 *
 * A platform's own decoder would apply colour profiles and multiply by opacity; this one is the same everywhere. Opaque
 * grey of 16 bits is rounded to 8, other channels of 16 bits keep their high byte.
 */
internal class Png(private val bytes: ByteArray) {
    private val chunks = chunks(bytes)
    private val header = chunks.firstOrNull()?.takeIf { it.kind == "IHDR" && it.size == 13 } ?: broken("no header")
    private val width = int(header.start)
    private val height = int(header.start + 4)
    private val depth = bytes[header.start + 8].toInt()
    private val colour = bytes[header.start + 9].toInt()
    private val isInterlaced = bytes[header.start + 12].toInt() == 1
    private val channels =
        mapOf(GREY to 1, RGB to 3, PALETTE to 1, GREY_ALPHA to 2, RGBA to 4)[colour] ?: broken("colour")
    private val pixelBits = channels * depth
    private val palette = chunks.find { it.kind == "PLTE" }
    private val transparency = chunks.find { it.kind == "tRNS" }
    private val rgb: ByteArray
    private val alpha: ByteArray?

    init {
        val depths = when (colour) {
            GREY -> listOf(1, 2, 4, 8, 16)
            PALETTE -> listOf(1, 2, 4, 8)
            else -> listOf(8, 16)
        }
        if (depth !in depths || (colour == PALETTE && palette == null)) broken("depth or palette")
        Picture.checkSize(width, height)
        rgb = ByteArray(3 * width * height)
        val hasAlpha = colour == GREY_ALPHA || colour == RGBA || transparency != null
        alpha = if (hasAlpha) ByteArray(width * height) { -1 } else null
    }

    private fun int(at: Int) = ByteBuffer.wrap(bytes).getInt(at)

    fun decode(): Picture {
        val lines = inflated()
        var at = 0
        if (!isInterlaced) {
            at = pass(lines, at, width, height) { x, y -> y * width + x }
        } else {
            for ((left, top, across, down) in PASSES) {
                val wide = (width - left + across - 1) / across
                val high = (height - top + down - 1) / down
                if (wide < 1 || high < 1) continue
                at = pass(lines, at, wide, high) { x, y -> (top + y * down) * width + left + x * across }
            }
        }
        return Picture(width, height, rgb, alpha)
    }

    private fun lineBytes(wide: Int) = ((wide.toLong() * pixelBits + 7) / 8).toInt()

    private fun inflated(): ByteArray {
        val size = if (!isInterlaced) {
            height.toLong() * (1 + lineBytes(width))
        } else {
            PASSES.sumOf { (left, top, across, down) ->
                val wide = (width - left + across - 1) / across
                val high = (height - top + down - 1) / down
                if (wide < 1 || high < 1) 0L else high.toLong() * (1 + lineBytes(wide))
            }
        }
        if (size > Int.MAX_VALUE) broken("too many pixels")
        val found = ByteArray(size.toInt())
        val inflater = Inflater()
        try {
            var filled = 0
            for (chunk in chunks) {
                if (chunk.kind != "IDAT") continue
                inflater.setInput(bytes, chunk.start, chunk.size)
                while (filled < found.size) {
                    val count = inflater.inflate(found, filled, found.size - filled)
                    if (count == 0) break
                    filled += count
                }
            }
            if (filled < found.size) broken("its pixels end too early")
        } catch (error: DataFormatException) {
            broken(error.message ?: "its pixels cannot be read")
        } finally {
            inflater.end()
        }
        return found
    }

    /** Reads the lines of a pass, and returns where they end. */
    private fun pass(data: ByteArray, from: Int, wide: Int, high: Int, place: (Int, Int) -> Int): Int {
        val size = lineBytes(wide)
        val step = maxOf(pixelBits / 8, 1)
        var at = from
        var above = -1
        for (y in 0 until high) {
            val line = at + 1
            unfilter(data, data[at].toInt(), line, above, size, step)
            for (x in 0 until wide) pixel(data, line, x, place(x, y))
            above = line
            at = line + size
        }
        return at
    }

    private fun unfilter(data: ByteArray, filter: Int, line: Int, above: Int, size: Int, step: Int) {
        if (filter !in 0..4) broken("filter $filter")
        if (filter == 0) return
        for (place in 0 until size) {
            val left = if (place >= step) data[line + place - step].toInt() and 255 else 0
            val up = if (above >= 0) data[above + place].toInt() and 255 else 0
            val corner = if (above >= 0 && place >= step) data[above + place - step].toInt() and 255 else 0
            val guess = when (filter) {
                1 -> left
                2 -> up
                3 -> (left + up) / 2
                else -> paeth(left, up, corner)
            }
            data[line + place] = (data[line + place] + guess).toByte()
        }
    }

    private fun paeth(left: Int, up: Int, corner: Int): Int {
        val sum = left + up - corner
        val toLeft = abs(sum - left)
        val toUp = abs(sum - up)
        val toCorner = abs(sum - corner)
        return when {
            toLeft <= toUp && toLeft <= toCorner -> left
            toUp <= toCorner -> up
            else -> corner
        }
    }

    /** A channel as it is stored, in [depth] bits. */
    private fun stored(data: ByteArray, line: Int, x: Int, channel: Int): Int {
        val number = x * channels + channel
        return when (depth) {
            16 -> (data[line + 2 * number].toInt() and 255 shl 8) or (data[line + 2 * number + 1].toInt() and 255)
            8 -> data[line + number].toInt() and 255
            else -> {
                val bit = number * depth
                val shift = 8 - depth - bit % 8
                data[line + bit / 8].toInt() and 255 shr shift and ((1 shl depth) - 1)
            }
        }
    }

    private fun pixel(data: ByteArray, line: Int, x: Int, at: Int) {
        val first = stored(data, line, x, 0)
        if (colour == PALETTE) return paletteEntry(first, at)
        val isGrey = colour == GREY || colour == GREY_ALPHA
        for (channel in 0..2) {
            val value = if (isGrey) first else stored(data, line, x, channel)
            rgb[3 * at + channel] = eightBits(value).toByte()
        }
        if (alpha == null) return
        if (colour == GREY_ALPHA || colour == RGBA) {
            val opacity = stored(data, line, x, channels - 1)
            alpha[at] = (if (depth == 16) opacity shr 8 else opacity).toByte()
        } else if (isTransparent(data, line, x)) {
            alpha[at] = 0
        }
    }

    private fun eightBits(value: Int): Int = when (depth) {
        16 -> if (colour == GREY && alpha == null) (value / 257.0 + 0.5).toInt() else value shr 8
        8 -> value
        else -> value * 255 / ((1 shl depth) - 1)
    }

    private fun paletteEntry(number: Int, at: Int) {
        val colours = palette ?: broken("no palette")
        val entry = colours.start + 3 * number
        if (3 * number + 2 < colours.size) bytes.copyInto(rgb, 3 * at, entry, entry + 3)
        val opacity = transparency ?: return
        if (number < opacity.size) alpha!![at] = bytes[opacity.start + number]
    }

    private fun isTransparent(data: ByteArray, line: Int, x: Int): Boolean {
        val clear = transparency ?: return false
        if (clear.size < 2 * channels) return false
        return (0 until channels).all { stored(data, line, x, it) == int(clear.start + 2 * it - 2) and 0xffff }
    }

    companion object {
        private const val GREY = 0
        private const val RGB = 2
        private const val PALETTE = 3
        private const val GREY_ALPHA = 4
        private const val RGBA = 6
        private val SIGNATURE = byteArrayOf(0x89.toByte(), 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a)
        private val PASSES = listOf(
            listOf(0, 0, 8, 8),
            listOf(4, 0, 8, 8),
            listOf(0, 4, 4, 8),
            listOf(2, 0, 4, 4),
            listOf(0, 2, 2, 4),
            listOf(1, 0, 2, 2),
            listOf(0, 1, 1, 2),
        )

        fun isPng(bytes: ByteArray): Boolean =
            bytes.size > SIGNATURE.size && SIGNATURE.indices.all { bytes[it] == SIGNATURE[it] }

        fun chunks(bytes: ByteArray): List<Chunk> {
            val found = ArrayList<Chunk>()
            val file = ByteBuffer.wrap(bytes)
            var at = SIGNATURE.size
            while (at + 12 <= bytes.size) {
                val size = file.getInt(at)
                if (size < 0 || size > bytes.size - at - 12) break
                found.add(Chunk(String(bytes, at + 4, 4, Charsets.ISO_8859_1), at + 8, size))
                at += 12 + size
            }
            return found
        }

        private fun broken(why: String): Nothing = throw PhantomError.BadPicture(
            "the PNG is damaged or cut short: $why",
            "copy or download the file again",
        )
    }
}
