package phantom.edge

import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import phantom.edge.bundle.BundleFolder
import phantom.edge.bundle.sha256
import phantom.edge.pictures.cutTiles
import phantom.edge.pictures.jpegSegments
import phantom.edge.pictures.resized
import phantom.edge.pictures.withoutProfile
import java.util.Random
import kotlin.math.abs

internal class PicturesTest {
    private val rules = BundleFolder.read(Conformance.bundle("fp32")).manifest.pictures
    private val all = Conformance.json("pictures.json")["pictures"].list

    private fun bytes(name: String) = Conformance.file("pictures/$name").readBytes()

    @Test
    fun `tiles of the same pixels are equal, and PNGs have the same pixels`() {
        assertTrue(all.size >= 60)
        for (one in all) {
            val name = one["file"].text
            val width = one["width"].int
            val height = one["height"].int
            val picture = if (one["is_exact"].flag) {
                Picture.decode(bytes(name))
            } else {
                Picture.ofRgb(width, height, bytes("$name.rgb"))
            }
            assertEquals(width to height, picture.width to picture.height, name)
            assertEquals(one["pixels"].text, sha256(picture.over(rules.background)), name)
            val tiles = cutTiles(picture, rules)
            assertEquals(one["grid"].ints, listOf(tiles.grid.columns, tiles.grid.rows), name)
            assertEquals(one["tiles"].texts, tiles.hashes(), name)
        }
    }

    @Test
    fun `other formats differ by two levels at most, turned as Python turns them`() {
        val lossy = all.filterNot { it["is_exact"].flag }
        assertTrue(lossy.size >= 16)
        for (one in lossy) {
            val name = one["file"].text
            val picture = Picture.decode(bytes(name), ImageIoDecoder)
            assertEquals(one["width"].int to one["height"].int, picture.width to picture.height, name)
            assertTrue(levels(picture.rgb, bytes("$name.rgb")) <= 2, name)
        }
    }

    private fun levels(one: ByteArray, other: ByteArray): Int {
        assertEquals(one.size, other.size)
        return one.indices.maxOf { abs((one[it].toInt() and 255) - (other[it].toInt() and 255)) }
    }

    @Test
    fun `a JPEG loses its profile and nothing else`() {
        val file = bytes("profile.jpg")
        val plain = withoutProfile(file)
        assertTrue(jpegSegments(file).any { it.marker == 0xe2 } && jpegSegments(plain).none { it.marker == 0xe2 })
        assertArrayEquals(Picture.decode(file, ImageIoDecoder).rgb, Picture.decode(plain, ImageIoDecoder).rgb)
        assertArrayEquals(bytes("full.jpg"), withoutProfile(bytes("full.jpg")))
    }

    @Test
    fun `a camera's planes become pixels, in every rotation`() {
        for (one in Conformance.json("pictures.json")["cameras"].list) {
            val width = one["width"].int
            val height = one["height"].int
            val file = bytes("${one["name"].text}.yuv")
            val half = (width + 1) / 2
            val size = half * ((height + 1) / 2)
            val luma = Picture.Plane(file, width)
            val blue = Picture.Plane(file, half, offset = width * height)
            val red = Picture.Plane(file, half, offset = width * height + size)
            val upright = Picture.ofYuv(width, height, luma, blue, red)
            assertTrue(levels(upright.rgb, bytes("${one["name"].text}.rgb")) <= one["levels"].int)
            // NV21: both differences in one plane of pairs, with room behind each row
            val pairs = ByteArray((2 * half + 6) * ((height + 1) / 2))
            for (place in 0 until size) {
                val at = place / half * (2 * half + 6) + 2 * (place % half)
                pairs[at] = file[width * height + size + place]
                pairs[at + 1] = file[width * height + place]
            }
            val first = Picture.Plane(pairs, 2 * half + 6, 2)
            val second = Picture.Plane(pairs, 2 * half + 6, 2, 1)
            assertArrayEquals(upright.rgb, Picture.ofYuv(width, height, luma, second, first).rgb)
            val turned = Picture.ofYuv(width, height, luma, blue, red, Picture.Rotation.ofDegrees(90))
            assertEquals(height to width, turned.width to turned.height)
            for (y in 0 until height) {
                for (x in 0 until width) {
                    val (from, to) = 3 * (y * width + x) to 3 * (x * height + height - 1 - y)
                    assertEquals(upright.rgb[from], turned.rgb[to])
                }
            }
            val whole = Picture.ofYuv(width, height, luma, blue, red, Picture.Rotation.HALF)
            assertEquals(upright.rgb[0], whole.rgb[whole.rgb.size - 3])
        }
    }

    @Test
    fun `raw pixels with opacity are laid over the background`() {
        val pixels = byteArrayOf(10, 20, 30, 0, 10, 20, 30, -1, 100, 100, 100, 51)
        val picture = Picture.ofRgba(3, 1, pixels)
        val found = picture.over(intArrayOf(255, 0, 100)).map { it.toInt() and 255 }
        assertEquals(listOf(255, 0, 100, 10, 20, 30, 224, 20, 100), found)
    }

    @Test
    fun `what is no picture is refused`() {
        val whole = bytes("wide.png")
        val tiny = Picture.Plane(ByteArray(3), 2)
        val attempts = listOf(
            { Picture.decode(ByteArray(0)) },
            { Picture.decode("no picture".toByteArray(), ImageIoDecoder) },
            { Picture.decode(whole.copyOf(whole.size / 2)) },
            { Picture.decode(whole.copyOf(40)) },
            { Picture.ofRgb(2, 2, ByteArray(11)) },
            { Picture.ofRgb(0, 2, ByteArray(0)) },
            { Picture.ofRgb(1 shl 20, 1 shl 20, ByteArray(0)) },
            { Picture.ofYuv(2, 2, tiny, tiny, tiny) },
        )
        for ((number, attempt) in attempts.withIndex()) {
            val error = assertThrows(PhantomError.BadPicture::class.java, { attempt() }, "attempt $number")
            assertTrue(error.remedy.isNotEmpty() && '\n' !in error.problem)
        }
    }

    @Test
    fun `damaged bytes end in a picture or a refusal`() {
        val random = Random(3)
        for (name in listOf("palette2.png", "interlaced.png", "alpha16.png", "turned6.png")) {
            repeat(60) {
                val file = bytes(name)
                repeat(1 + random.nextInt(4)) { file[random.nextInt(file.size)] = random.nextInt(256).toByte() }
                try {
                    Picture.decode(file.copyOf(1 + random.nextInt(file.size)))
                } catch (error: PhantomError.BadPicture) {
                    assertTrue('\n' !in error.problem)
                }
            }
        }
    }

    @Test
    fun `a picture of one colour keeps it`() {
        val rgb = ByteArray(3 * 31 * 17) { byteArrayOf(7, 100, -2)[it % 3] }
        for ((width, height) in listOf(224 to 448, 5 to 3, 31 to 60)) {
            val found = resized(rgb, 31, 17, width, height)
            assertArrayEquals(ByteArray(3 * width * height) { byteArrayOf(7, 100, -2)[it % 3] }, found)
        }
    }
}
