package phantom.edge

import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import phantom.edge.bundle.BundleFolder
import phantom.edge.json.jsonText
import phantom.edge.json.parseJson
import phantom.edge.text.Prompts
import phantom.edge.text.Streamed
import phantom.edge.text.Tokenizer
import phantom.edge.text.lossyText
import java.io.File

internal class TextsTest {
    private val data = Conformance.json("texts.json")
    private val texts = data["texts"].texts

    private fun tokenizer(name: String) = Tokenizer.read(Conformance.file("tokenizers/$name.json"))

    @Test
    fun `texts become the same tokens, and these the same texts`() {
        assertTrue(texts.size >= 300)
        assertTrue(data["tokenizers"].entries.size >= 5)
        for ((name, wanted) in data["tokenizers"].entries) {
            val tokenizer = tokenizer(name)
            for ((number, text) in texts.withIndex()) {
                val ids = wanted["ids"].list[number].ints
                assertEquals(ids, tokenizer.encode(text).toList(), "$name: ${jsonText(text)}")
                assertEquals(wanted["decoded"].list[number].text, tokenizer.decode(ids), "$name: ${jsonText(text)}")
            }
        }
    }

    @Test
    fun `any tokens are streamed in the same pieces`() {
        for ((name, wanted) in data["tokenizers"].entries) {
            val tokenizer = tokenizer(name)
            for (one in wanted["streams"].list) {
                val stream = Streamed(tokenizer)
                val pieces = (one["ids"].ints.map(stream::add) + stream.rest()).filter { it.isNotEmpty() }
                assertEquals(one["pieces"].texts, pieces, "$name ${one["ids"].ints}")
                assertEquals(one["text"].text, stream.text)
            }
        }
    }

    @Test
    fun `a long text without spaces takes no square of its length`() {
        val ids = tokenizer("llama").encode("abcdefgh".repeat(50_000))
        assertTrue(ids.size > 50_000)
    }

    @Test
    fun `parts that are not read exactly are named`(@TempDir desk: File) {
        fun complaint(vararg change: Pair<String, Any?>): String {
            @Suppress("UNCHECKED_CAST")
            val document = parseJson(Conformance.file("tokenizers/nano.json").readText()) as MutableMap<String, Any?>
            for ((place, value) in change) {
                var inside = document
                val steps = place.split(".")
                @Suppress("UNCHECKED_CAST")
                for (step in steps.dropLast(1)) inside = inside[step] as MutableMap<String, Any?>
                inside[steps.last()] = value
            }
            val file = File(desk, "tokenizer.json").apply { writeText(jsonText(document)) }
            return assertThrows(PhantomError.Unsupported::class.java) { Tokenizer.read(file) }.problem
        }

        fun split(pattern: String, behavior: String = "Isolated") = mapOf(
            "type" to "Split",
            "pattern" to mapOf("Regex" to pattern),
            "behavior" to behavior,
            "invert" to false,
        )
        assertTrue("model.type is" in complaint("model.type" to "WordPiece"))
        assertTrue("model.dropout is 0.1" in complaint("model.dropout" to 0.1))
        assertTrue("model.surprise" in complaint("model.surprise" to 1))
        assertTrue("truncation is not null" in complaint("truncation" to mapOf("max_length" to 5)))
        assertTrue("normalizer is of type Lowercase" in complaint("normalizer" to mapOf("type" to "Lowercase")))
        assertTrue("pre_tokenizer is of type Metaspace" in complaint("pre_tokenizer" to mapOf("type" to "Metaspace")))
        assertTrue("decoder is of type WordPiece" in complaint("decoder" to mapOf("type" to "WordPiece")))
        assertTrue("behavior" in complaint("pre_tokenizer" to split("a", "Removed")))
        val foreign =
            listOf("\\w+", "a.b", "^a", "[[:alpha:]]", "(?<x>a)", "\\p{Greek}", "[a&&b]", "(?i:[a-z])", "a(", "\\1")
        for (pattern in foreign) {
            assertTrue("regular expression" in complaint("pre_tokenizer" to split(pattern)), pattern)
        }
    }

    @Test
    fun `broken bytes become as many replacement characters as Rust writes`() {
        val cases = mapOf(
            listOf(0x61, 0xe2, 0x96, 0x62) to "a\ufffdb",
            listOf(0xf0, 0x9f, 0x99) to "\ufffd",
            listOf(0xc0, 0x80) to "\ufffd\ufffd",
            listOf(0xed, 0xa0, 0x80) to "\ufffd\ufffd\ufffd",
            listOf(0xf4, 0x90, 0x80, 0x80) to "\ufffd\ufffd\ufffd\ufffd",
            listOf(0xf0, 0x9f, 0x99, 0x82) to "\ud83d\ude42",
        )
        for ((bytes, text) in cases) assertEquals(text, lossyText(ByteArray(bytes.size) { bytes[it].toByte() }))
    }

    @Test
    fun `conversations become the same prompts and ids, or are refused`() {
        val manifest = BundleFolder.read(Conformance.bundle("fp32")).manifest
        val prompts = Prompts(manifest, tokenizer("nano"))
        val data = Conformance.json("prompts.json")
        for (one in data["prompts"].list) {
            val asked = Asked(one)
            val rendered = prompts.render(asked.messages, asked.pictures.size)
            assertEquals(one["prompt"].text, rendered)
            val counts = one["tiles"].ints.map { it * manifest.pictures.tokensPerTile }
            assertArrayEquals(one["ids"].ints.toIntArray(), prompts.ids(rendered, counts))
        }
        for (one in data["refused"].list) {
            val asked = Asked(one)
            val error = assertThrows(PhantomError.BadQuestion::class.java, {
                val rendered = prompts.render(asked.messages, asked.pictures.size)
                prompts.ids(rendered, asked.pictures.map { manifest.pictures.tokensPerTile })
            }, one["problem"].text)
            assertTrue(error.remedy.isNotEmpty() && '\n' !in error.problem)
        }
        for (empty in listOf(listOf(), listOf(Message(Role.USER, " \n")))) {
            assertThrows(PhantomError.BadQuestion::class.java) { prompts.render(empty, 0) }
        }
    }
}
