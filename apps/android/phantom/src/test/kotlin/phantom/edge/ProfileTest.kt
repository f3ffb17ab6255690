package phantom.edge

import kotlinx.coroutines.flow.take
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import phantom.edge.json.parseJson
import phantom.edge.profile.Kernel
import phantom.edge.profile.Ran
import phantom.edge.profile.Wish
import phantom.edge.profile.profileOnRequest
import phantom.edge.profile.readTrace
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
        assertEquals(listOf<String>(), leftovers())
        // for the Python test, which reads them as the host does
        File("target/profile.jsonl").writeText(lines.joinToString("\n") { it.json } + "\n")
    }

    /** Folders of the profiler's files that are still there. */
    private fun leftovers() =
        File(System.getProperty("java.io.tmpdir")).list().orEmpty().filter { it.startsWith("phantom-traces") }

    @Test
    fun `what a host asks for is written as lines, and an error is one`() = runBlocking {
        val lines = ArrayList<String>()
        val folder = Conformance.bundle("fp32")
        val text = """{"repeats": 1, "tokens": 2, "threads": 1, "depths": [16], "operators": false}"""
        assertTrue(profileOnRequest(folder, text) { lines.add(it) })
        assertEquals("""{"end": 1}""", lines.last())
        lines.clear()
        assertFalse(profileOnRequest(File(folder, "golden"), text) { lines.add(it) })
        assertEquals(1, lines.size)
        assertTrue(lines[0].startsWith("""{"error": """") && "is no bundle" in lines[0], lines[0])
        lines.clear()
        assertFalse(profileOnRequest(folder, "{}}") { lines.add(it) })
        assertTrue("the wish cannot be read" in lines.single())
    }

    @Test
    fun `a trace that is damaged is a fault, not an empty result`(@TempDir desk: File) {
        val node = """{"cat":"Node","name":"/layer/attention/Add_kernel_time","dur":7,"args":{"op_name":"Add"}}"""
        val run = """{"cat":"Session","name":"model_run","dur":9,"args":{}}"""
        val file = File(desk, "trace.json").apply { writeText("[\n$node,\n$run\n]\n") }
        val ran = readTrace(file).single()
        assertEquals("attention", ran.kernels.single().place)
        assertEquals(9e-6, ran.seconds, 1e-12)
        for (text in listOf("[\n$node,\n${run.dropLast(4)}", "[\n3\n]", "[\n${node.replace("dur", "d")}\n]")) {
            file.writeText(text)
            assertThrows(PhantomError.Failed::class.java, { readTrace(file) }, text)
        }
    }

    @Test
    fun `kernels without a place have that of their neighbours`() {
        fun kernel(place: String?) = Kernel(place, "Cast", 1e-6)
        val run = Ran(listOf(null, "MLP", null, "MLP", null, "head", null).map { kernel(it) }, 1e-5)
        assertEquals(listOf("MLP", "MLP", "MLP", "MLP", "other", "head", "head"), run.places())
        assertEquals(listOf("other"), Ran(listOf(kernel(null)), 1e-6).places())
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
