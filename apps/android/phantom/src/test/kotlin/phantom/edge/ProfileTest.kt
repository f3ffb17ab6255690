package phantom.edge

import kotlinx.coroutines.flow.take
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import phantom.edge.json.parseJson
import phantom.edge.profile.Wish
import java.io.File

internal class ProfileTest {
    @Test
    fun `a profile has all lines, in the order that the host expects`() = runBlocking {
        val wish = Wish.parse("""{"repeats": 2, "tokens": 4, "threads": 1, "depths": [64, 100], "operators": true}""")
        val sensors = Sensors { Sensed(celsius = 30.5, battery = 80.0, state = "on battery") }
        val lines = open(Conformance.bundle("int4"), Options(sensors = sensors)).use { phantom ->
            val lines = phantom.profile(wish).toList()
            assertTrue(phantom.ask("Why?", settings = Settings(2)).toList().isNotEmpty()) // it was loaded again
            lines
        }
        val kinds = lines.map { it.kind }.filter { it != "reading" }
        val stages = List(4) { "stage" } + List(2) { "depth" } + "tokens" + List(3) { "answer" } + "tokens"
        assertEquals(listOf("device", "subject", "steps") + stages + listOf("operators", "end"), kinds)
        val counted = kinds.count { it in setOf("stage", "depth", "answer", "operators") }
        assertEquals("""{"steps": $counted}""", lines.first { it.kind == "steps" }.json)
        for (line in lines) assertTrue(parseJson(line.json) is Map<*, *> && '\n' !in line.json)
        // for the Python test, which reads them as the host does
        File("target/profile.jsonl").writeText(lines.joinToString("\n") { it.json } + "\n")
    }

    @Test
    fun `a profile that is cancelled leaves a bundle that answers`() = runBlocking {
        open(Conformance.bundle("int4")).use { phantom ->
            assertEquals(6, phantom.profile(Wish(repeats = 1)).take(6).toList().size)
            assertTrue(phantom.ask("Why?", settings = Settings(2)).toList().isNotEmpty())
            assertEquals(State.Ready, phantom.state.value)
        }
    }

    @Test
    fun `impossible wishes are refused`() {
        for (wish in listOf("{", "[]", """{"repeats": 0}""", """{"repeats": "2"}""", """{"surprise": 1}""")) {
            assertThrows(PhantomError.BadQuestion::class.java, { Wish.parse(wish) }, wish)
        }
        open(Conformance.bundle("int4")).use { phantom ->
            assertThrows(PhantomError.BadQuestion::class.java) {
                runBlocking { phantom.profile(Wish(depths = listOf(5000))).toList() }
            }
        }
    }
}
