package phantom.edge

import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.flow.collect
import kotlinx.coroutines.flow.take
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import org.junit.jupiter.params.ParameterizedTest
import org.junit.jupiter.params.provider.ValueSource
import phantom.edge.profile.residentBytes
import java.io.File

internal class AnswersTest {
    private val data = Conformance.json("answers.json")
    private val asked = data["asked"].list.map(::Asked)

    @ParameterizedTest
    @ValueSource(strings = ["fp32", "fp16", "int8", "int4", "exact8-int8-cache"])
    fun `answers are Python's, in one conversation after the other`(form: String) {
        assertTrue(asked.size >= 25)
        open(Conformance.bundle(form)).use { phantom ->
            val wanted = data["answers"][form].list
            for ((one, answer) in asked.zip(wanted)) assertEquals(answer.value, phantom.note(one), "$form: $one")
            assertTrue(wanted.count { it["reused_tokens"].int > 49 } > asked.size / 4)
        }
    }

    @Test
    fun `settings of a bundle change answers as in Python`(@TempDir desk: File) {
        val data = Conformance.json("settings.json")
        val asked = data["asked"].list.map(::Asked)
        val plain = Conformance.copy("fp32", File(desk, "bundle"))
        for (one in data["settings"].list) {
            File(plain, "phantom.json").writeText(one["manifest"].text)
            open(plain).use { phantom ->
                for ((question, answer) in asked.zip(one["answers"].list)) {
                    assertEquals(answer.value, phantom.note(question), "${one["name"].text}: $question")
                }
            }
        }
    }

    @Test
    fun `a cancelled flow stops within one token, and its prompt is not read again`() = runBlocking {
        open(Conformance.bundle("fp32")).use { phantom ->
            val picture = Conformance.picture("wide.png")
            val question = "Describe the picture briefly."
            val whole = Answer()
            val all = phantom.ask(question, listOf(picture), answer = whole).toList()
            assertTrue(all.size > 6)
            val cut = Answer()
            val few = phantom.ask(question, listOf(picture), answer = cut).take(3).toList()
            assertEquals(all.take(3).map { it.text }, few.map { it.text })
            assertTrue(cut.ids.size <= 4, "${cut.ids.size} tokens") // one more may have been under way
            assertEquals(End.INTERRUPTED, cut.end)
            val again = Answer()
            val pieces = phantom.ask(question, listOf(picture), answer = again).toList()
            assertEquals(all.map { it.text }, pieces.map { it.text })
            assertEquals(again.promptTokens - 1, again.reusedTokens)
            assertEquals(State.Ready, phantom.state.value)
        }
    }

    @Test
    fun `two pictures, then a second turn, then one of the two alone`() = runBlocking {
        open(Conformance.bundle("int8")).use { phantom ->
            val two = listOf(Conformance.picture("scene0.png"), Conformance.picture("wide.png"))
            val first = Answer()
            phantom.ask("Describe both pictures.", two, answer = first).collect()
            val second = Answer()
            val messages = listOf(
                Message(Role.USER, "<image><image>Describe both pictures."),
                Message(Role.ASSISTANT, first.text),
                Message(Role.USER, "Which one is larger?"),
            )
            phantom.reply(messages, two, answer = second).collect()
            assertTrue(second.reusedTokens >= first.promptTokens, "${second.reusedTokens} of ${first.promptTokens}")
            val third = Answer()
            phantom.ask("Describe both pictures.", two.take(1), answer = third).collect()
            assertTrue(third.reusedTokens > 49 && third.end != End.INTERRUPTED)
        }
    }

    @Test
    fun `questions from several coroutines wait for each other`() = runBlocking {
        open(Conformance.bundle("int4")).use { phantom ->
            val texts = List(4) { number ->
                async {
                    val picture = Conformance.picture("scene${number % 2}.png")
                    phantom.ask("Describe the picture briefly.", listOf(picture)).toList().joinToString("")
                }
            }.map { it.await() }
            assertEquals(texts[0], texts[2])
            assertEquals(texts[1], texts[3])
        }
    }

    @Test
    fun `closing in the middle of an answer ends it with an error`() = runBlocking {
        val phantom = open(Conformance.bundle("int4"))
        val error = assertThrows(PhantomError.Closed::class.java) {
            runBlocking { phantom.ask("What is 3 + 4, and why?", settings = Settings(200)).collect { phantom.close() } }
        }
        assertTrue(error.remedy.isNotEmpty())
        assertEquals(State.Closed, phantom.state.value)
        assertThrows(PhantomError.Closed::class.java) { runBlocking { phantom.ask("Why?").collect() } }
        assertThrows(PhantomError.Closed::class.java) { runBlocking { phantom.selfTest() } }
        phantom.close()
    }

    @Test
    fun `the state says what is going on`() = runBlocking {
        open(Conformance.bundle("fp32")).use { phantom ->
            val seen = LinkedHashSet<String>()
            val watching = launch(Dispatchers.Unconfined) {
                phantom.state.collect { seen.add(it::class.java.simpleName) }
            }
            phantom.ask("Describe the picture briefly.", listOf(Conformance.picture("tall.png"))).collect()
            watching.cancel()
            assertEquals(setOf("Ready", "Seeing", "Reading", "Answering"), seen)
        }
    }

    @Test
    fun `sampling draws likely tokens, the same for the same seed`() = runBlocking {
        open(Conformance.bundle("int8")).use { phantom ->
            suspend fun draw(settings: Settings) = phantom.ask("Why?", settings = settings).toList().joinToString("")
            val hot = Settings(24, temperature = 1.5, seed = 5)
            assertEquals(draw(hot), draw(hot))
            assertTrue(List(6) { draw(Settings(24, temperature = 1.5, seed = it.toLong())) }.toSet().size > 1)
            val greedy = draw(Settings(24))
            assertEquals(greedy, draw(Settings(24, temperature = 1.0, topK = 1)))
            assertEquals(greedy, draw(Settings(24, temperature = 1.0, topP = 1e-9)))
        }
    }

    @Test
    fun `many questions in a row leave the memory as it was`() {
        val questions = System.getProperty("phantom.questions").toInt()
        open(Conformance.bundle("int4")).use { phantom ->
            val names = asked.flatMap { it.pictures }.distinct()
            fun ask(number: Int) = runBlocking {
                val shown = listOf(Conformance.picture(names[number % names.size]))
                phantom.ask("What is it, number $number?", shown, Settings(8)).collect()
            }
            repeat(names.size) { ask(it) } // so many pictures as are kept, and the arena of ONNX Runtime
            val before = used()
            val resident = residentBytes()
            repeat(questions) { ask(it) }
            val grown = used() - before
            val more = (residentBytes() ?: 0) - (resident ?: 0) // the heap is resident from the beginning
            println("$questions questions: heap ${grown / 1024} kB, resident ${more / 1024} kB more")
            assertTrue(grown < 4_000_000, "the heap grew by $grown bytes")
            assertTrue(more < 40_000_000, "memory outside of the heap grew by $more bytes")
        }
    }

    private fun used(): Long {
        repeat(3) { System.gc() }
        return Runtime.getRuntime().let { it.totalMemory() - it.freeMemory() }
    }
}
