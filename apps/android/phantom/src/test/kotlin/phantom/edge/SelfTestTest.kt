package phantom.edge

import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import org.junit.jupiter.params.ParameterizedTest
import org.junit.jupiter.params.provider.ValueSource
import phantom.edge.bundle.BundleFolder
import phantom.edge.bundle.sha256
import phantom.edge.engine.Engine
import phantom.edge.engine.OrtEngine
import phantom.edge.session.Pace
import phantom.edge.session.SelfTest
import phantom.edge.session.Session
import phantom.edge.text.Tokenizer
import java.io.File

internal class SelfTestTest {
    @ParameterizedTest
    @ValueSource(strings = ["fp32", "fp16", "int8", "int4", "exact8-int8-cache"])
    fun `every form passes its own golden questions`(form: String) = runBlocking {
        open(Conformance.bundle(form)).use { phantom ->
            val report = phantom.selfTest()
            assertTrue(report.passed, report.faults.joinToString("\n"))
            assertTrue(report.findings.size > 30 && report.leftOut.isEmpty())
        }
    }

    /** An engine in which something is wrong. */
    private class Wrong(
        private val inner: Engine,
        private val tile: (ByteArray) -> ByteArray = { it },
        private val tokens: (FloatArray) -> FloatArray = { it },
        private val ids: (IntArray) -> IntArray = { it },
        private val logits: (FloatArray) -> FloatArray = { it },
        private val start: (Int) -> Int = { it },
    ) : Engine {
        override fun encode(tile: ByteArray) = tokens(inner.encode(tile(tile)))

        override fun embed(ids: IntArray) = inner.embed(ids(ids))

        override fun forward(embeds: FloatArray, first: Int, count: Int, start: Int, wantsLogits: Boolean) =
            inner.forward(embeds, first, count, start(start), wantsLogits)?.let(logits)

        override fun endTraces() = inner.endTraces()

        override fun close() = inner.close()
    }

    private fun faults(wrong: (Engine) -> Engine): List<String> {
        val bundle = BundleFolder.read(Conformance.bundle("fp32"))
        return wrong(OrtEngine(bundle, 1)).use { engine ->
            val tokenizer = Tokenizer.read(bundle.file(bundle.manifest.prompt.tokenizer))
            val session = Session(bundle.manifest, engine, tokenizer, 8, Pace(null)) {}
            runBlocking { SelfTest(bundle, session).run { _, _ -> } }.faults.map { it.name }
        }
    }

    @Test
    fun `planted faults are found where they are`() {
        assertEquals(listOf<String>(), faults { it })
        val hidden = BundleFolder.read(Conformance.bundle("fp32")).manifest.model.hidden
        fun swapped(tokens: FloatArray) = tokens.copyOf().also {
            tokens.copyInto(it, 2 * hidden, 3 * hidden, 4 * hidden)
            tokens.copyInto(it, 3 * hidden, 2 * hidden, 3 * hidden)
        }
        val faults = mapOf<String, (Engine) -> Engine>(
            "image tokens" to { Wrong(it, tile = { one -> one.reversedArray() }) },
            "order of image tokens" to { Wrong(it, tokens = ::swapped) },
            "embeddings" to { Wrong(it, ids = { ids -> IntArray(ids.size) { at -> (ids[at] + 1) % 1024 } }) },
            "logits" to { Wrong(it, logits = { one -> one.map { value -> value * 1.01f }.toFloatArray() }) },
            "choices" to { Wrong(it, logits = { one -> one.map { value -> -value }.toFloatArray() }) },
            "pieces" to { Wrong(it, logits = { one -> FloatArray(one.size) { Float.NaN } }) },
        )
        for ((name, wrong) in faults) {
            val found = faults(wrong)
            val place = if (name == "pieces") "answer" else name
            assertTrue(found.any { it.endsWith(": $place") || it == place }, "$name: $found")
        }
    }

    @Test
    fun `pictures and questions that were changed are noticed`(@TempDir desk: File) = runBlocking {
        val bundle = Conformance.copy("int4", File(desk, "bundle"))
        val golden = File(bundle, "golden/golden.json")
        fun list(text: String) = reseal(bundle) { manifest ->
            golden.writeText(text)
            val digest = sha256(golden.readBytes())
            val entry = mapOf("bytes" to golden.length(), "sha256" to digest)
            manifest.inside("files")["golden/golden.json"] = entry
        }
        val whole = golden.readText()
        list(whole.replaceFirst(Regex("\"tiles\":\\s*\\[\\s*\"...."), "\"tiles\": [\"0000"))
        open(bundle).use { phantom ->
            val report = phantom.selfTest()
            assertFalse(report.passed)
            assertTrue(report.faults.all { "tiles" in it.name }, report.faults.joinToString("\n"))
        }
        for (broken in listOf("{}", whole.dropLast(9), whole.replace(Regex("\"format\":\\s*1"), "\"format\": 2"))) {
            list(broken)
            open(bundle).use { phantom ->
                assertThrows(PhantomError.DamagedBundle::class.java) { runBlocking { phantom.selfTest() } }
                assertEquals(State.Ready, phantom.state.value)
            }
        }
    }

    @Test
    fun `a proof is read, and one that is damaged or of another bundle is refused`(@TempDir desk: File) = runBlocking {
        val bundle = Conformance.copy("fp16", File(desk, "bundle"))
        open(bundle).use { phantom ->
            val proof = checkNotNull(phantom.proof())
            assertTrue(proof.passed && proof.checks.size > 20, "${proof.checks}")
            assertEquals(phantom.model, proof.model)
            assertTrue(proof.checks.any { it.measure == "relative error" && checkNotNull(it.bound) < 1 })
        }
        val file = File(bundle, "proof.json")
        val whole = file.readText()
        for (broken in listOf("{}", whole.dropLast(9), whole.replaceFirst("\"bound\": 0", "\"bound\": 9"), "[]")) {
            file.writeText(broken)
            open(bundle).use { phantom ->
                assertThrows(PhantomError.DamagedBundle::class.java) { runBlocking { phantom.proof() } }
            }
        }
        val other = Conformance.copy("int4", File(desk, "other"))
        open(other).use { assertNull(it.proof()) }
        File(other, "proof.json").writeText(whole)
        open(other).use { phantom ->
            val fault = assertThrows(PhantomError.DamagedBundle::class.java) { runBlocking { phantom.proof() } }
            assertTrue("another bundle" in fault.problem, fault.problem)
        }
    }
}
