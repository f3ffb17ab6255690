package phantom.edge

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import phantom.edge.bundle.Generation
import phantom.edge.engine.fromHalf
import phantom.edge.engine.toHalf
import phantom.edge.json.WrongJson
import phantom.edge.json.jsonText
import phantom.edge.json.parseJson
import phantom.edge.session.Choice
import phantom.edge.session.Pace
import kotlin.math.abs

internal class NumbersTest {
    @Test
    fun `every float of 16 bits survives`() {
        for (bits in 0..0xffff) {
            val number = fromHalf(bits.toShort())
            val again = toHalf(number)
            assertTrue(if (number.isNaN()) fromHalf(again).isNaN() else again == bits.toShort(), "$bits")
        }
    }

    @Test
    fun `floats become the nearest of 16 bits, ties the even one`() {
        val all = (0..0x7c00).map { fromHalf(it.toShort()) }
        for (place in 1 until 0x7bff) {
            val low = all[place]
            val high = all[place + 1]
            val middle = (low + high) / 2 // exact in float32
            assertEquals(if (place % 2 == 0) low else high, fromHalf(toHalf(middle)))
            assertEquals(low, fromHalf(toHalf(Math.nextDown(middle))))
            assertEquals(-high, fromHalf(toHalf(-Math.nextUp(middle))))
        }
        assertEquals(65504f, fromHalf(toHalf(65519.996f)))
        assertEquals(Float.POSITIVE_INFINITY, fromHalf(toHalf(65520f)))
        assertEquals(0f, abs(fromHalf(toHalf(2.9e-8f))))
    }

    @Test
    fun `JSON is read as its standard says`() {
        val text = """ {"a": [1, -2.5e3, "x\u00e9\n\"", true, null, {}], "b": 12345678901234567890} """
        val found = parseJson(text)
        assertEquals(found, parseJson(jsonText(found)))
        val wrong =
            listOf("", "{", "[1,]", "{\"a\" 1}", "01", "1.", "+1", "NaN", "Infinity", "'a'", "[1] 2", "{a: 1}") +
                listOf("\"\n\"", "\"\\x\"", "\"\\u12g4\"", "\"")
        for (one in wrong) assertThrows(WrongJson::class.java, { parseJson(one) }, one)
    }

    @Test
    fun `settings that ban every token are an error, and so are numbers that are none`() {
        val all = Generation(1.0, 0, 0, 0, IntArray(4) { it }, IntArray(0))
        val choice = Choice(all, intArrayOf(1), 1, Settings())
        assertThrows(PhantomError.Unsupported::class.java) { choice.choose(listOf(0), FloatArray(4)) }
        val plain = Choice(Generation(1.0, 0, 0, 0, IntArray(0), IntArray(0)), intArrayOf(1), 1, Settings())
        assertEquals(1, plain.choose(listOf(0), floatArrayOf(1f, 2f, 2f, 0f))) // of equals the lowest
        for (number in listOf(Float.NaN, Float.POSITIVE_INFINITY)) {
            assertThrows(PhantomError.Failed::class.java) { plain.choose(listOf(0), floatArrayOf(0f, number)) }
        }
    }

    @Test
    fun `pauses grow with heat, and headroom is asked once a second`() {
        var time = 0L
        var asked = 0
        var heat = 0.5f
        val pace = Pace({
            asked++
            heat
        }, { time })
        fun pause() = pace.pauseNanos(1000).also { time += 600_000_000 }
        assertEquals(0, pause())
        heat = 1.2f
        assertEquals(0, pause()) // not asked again yet
        assertEquals(3000, pause())
        heat = Float.NaN // unknown: the latest counts
        pause()
        assertEquals(3000, pause())
        heat = 0.925f
        pause()
        assertTrue(pause() in 1400..1600)
        assertEquals(4, asked)
        assertEquals(0, Pace(null).pauseNanos(1000))
    }
}
