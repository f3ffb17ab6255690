package phantom.edge

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import phantom.edge.bundle.PublicKey
import phantom.edge.bundle.blake2b
import phantom.edge.bundle.checkSignature
import phantom.edge.bundle.hexadecimal
import java.io.File

internal class SignaturesTest {
    private val document = Conformance.json("signatures.json")
    private val cases = document["cases"].list

    private fun check(folder: File, key: String): String =
        checkSignature(folder, File(folder, "phantom.json").readBytes(), PublicKey.read(key))

    @Test
    fun `signatures hold or not as in Python, in the same words`() {
        assertTrue(cases.size >= 16)
        for (one in cases) {
            val name = one["name"].text
            val folder = Conformance.file("signatures/${one["folder"].text}")
            if (one["comment"].text.isNotEmpty()) {
                assertEquals(one["comment"].text, check(folder, one["key"].text), name)
                continue
            }
            val error = assertThrows(PhantomError.Untrusted::class.java, { check(folder, one["key"].text) }, name)
            val wanted = one["problem"].text.replace("BUNDLE", folder.path)
            assertTrue(error.problem.startsWith(wanted), "$name: ${error.problem} is not $wanted")
            assertEquals(one["remedy"].text, error.remedy, name)
        }
    }

    @Test
    fun `a signature that is a folder or too long is refused`(@TempDir desk: File) {
        val key = cases.first()["key"].text
        val file = File(desk, "phantom.json.minisig")
        File(desk, "phantom.json").writeText("{}")
        file.writeText("x".repeat(20_000))
        assertThrows(PhantomError.Untrusted::class.java) { check(desk, key) }
        file.delete()
        file.mkdir()
        assertThrows(PhantomError.Untrusted::class.java) { check(desk, key) }
    }

    @Test
    fun `texts that are no key are refused with the options`() {
        for (text in document["no_keys"].texts) {
            val error = assertThrows(PhantomError.BadQuestion::class.java, { Options(key = text) }, text)
            assertTrue("no public key of minisign" in error.problem)
        }
    }

    @Test
    fun `a bundle is opened by its key, and refused by another before any other file is read`(@TempDir desk: File) {
        val signed = cases.first { it["comment"].text.isNotEmpty() }
        val bundle = Conformance.copy("int4", File(desk, "bundle"))
        assertThrows(PhantomError.Untrusted::class.java) { open(bundle, Options(1, key = signed["key"].text)) }
        Conformance.file("signatures/${signed["folder"].text}").copyRecursively(bundle, overwrite = true)
        open(bundle, Options(1, key = signed["key"].text)).close()
        File(bundle, "decoder.data").delete()
        val other = cases.first { it["name"].text == "another key" }["key"].text
        assertThrows(PhantomError.Untrusted::class.java) { open(bundle, Options(1, key = other)) }
        assertThrows(PhantomError.DamagedBundle::class.java) { open(bundle, Options(1, key = signed["key"].text)) }
    }

    @Test
    fun `BLAKE2b is Python's`() {
        for (one in document["digests"].list) {
            val text = ByteArray(one["bytes"].int) { (7L * it % 251).toByte() }
            assertEquals(one["blake2b"].text, hexadecimal(blake2b(text)), "${text.size} bytes")
        }
    }
}
