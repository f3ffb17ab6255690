package phantom.edge.app

import kotlinx.coroutines.runBlocking
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import phantom.edge.Options
import phantom.edge.Phantom
import phantom.edge.PhantomError
import phantom.edge.app.bundles.Bundles
import phantom.edge.app.bundles.FolderSource
import phantom.edge.app.bundles.Source
import phantom.edge.app.bundles.ZipSource
import java.io.ByteArrayInputStream
import java.io.File

internal class BundlesTest {
    @get:Rule
    val folder = TemporaryFolder()

    private val bundles by lazy { Bundles(File(folder.root, "bundles")) }

    private suspend fun prove(bundle: File) = Phantom.open(bundle, Options(threads = 1)).close()

    private fun install(name: String, source: Source) = runBlocking { bundles.install(name, source) { prove(it) } }

    private fun zip(file: File) = ZipSource { file.inputStream() }

    private fun checkNothingIsLeft() {
        assertEquals(listOf<String>(), File(folder.root, "bundles").list().orEmpty().toList())
    }

    @Test
    fun `a bundle comes from a folder, a zip of its files, and a zip of its folder`() {
        val source = Golden.bundle("int4")
        val zip = folder.newFile("a.zip")
        assertNull(bundles.chosen)
        assertEquals("from-folder", install("from-folder", FolderSource(source)))
        assertEquals("My-bundle-1", install("My bundle 1.zip", zip(zipOf(source, zip))))
        assertEquals("inner", install("inner.zip", zip(zipOf(source, zip, "nano-onnx/"))))
        assertEquals(listOf("My-bundle-1", "from-folder", "inner"), bundles.names)
        for (name in bundles.names) runBlocking { prove(bundles.path(name)) }
        assertEquals("My-bundle-1", bundles.chosen)
        bundles.chosen = "inner"
        assertEquals("inner", Bundles(File(folder.root, "bundles")).chosen)
        bundles.remove("inner")
        assertEquals("My-bundle-1", bundles.chosen)
    }

    @Test
    fun `a bundle of the same name is replaced, by a good one only`() {
        install("nano", FolderSource(Golden.bundle("int4")))
        install("nano", FolderSource(Golden.bundle("fp16")))
        val manifest = File(bundles.path("nano"), "phantom.json").readText()
        assertTrue("float16" in manifest)
        val damaged = folder.newFolder("damaged")
        Golden.bundle("int4").copyRecursively(damaged, overwrite = true)
        File(damaged, "decoder.data").appendBytes(byteArrayOf(1))
        assertThrows(PhantomError.DamagedBundle::class.java) { install("nano", FolderSource(damaged)) }
        assertEquals(manifest, File(bundles.path("nano"), "phantom.json").readText())
        assertEquals(listOf("nano"), bundles.names)
    }

    @Test
    fun `what is no bundle is refused, and nothing is left`() {
        val zip = folder.newFile("x.zip")
        val whole = zipOf(Golden.bundle("int4"), folder.newFile("whole.zip")).readBytes()
        val refused = mapOf(
            "no zip" to zip.apply { writeText("hello") }.readBytes(),
            "no manifest" to zipOf(zip, "a.txt" to "a").readBytes(),
            "two bundles" to zipOf(zip, "a/phantom.json" to "{}", "b/phantom.json" to "{}").readBytes(),
            "out of the folder" to zipOf(zip, "phantom.json" to "{}", "../../evil" to "!").readBytes(),
            "absolute" to zipOf(zip, "phantom.json" to "{}", "x/../../evil" to "!").readBytes(),
            "cut" to whole.copyOf(whole.size / 2),
        )
        for ((name, bytes) in refused) {
            assertThrows(name, Refusal::class.java) { install(name, ZipSource { ByteArrayInputStream(bytes) }) }
            checkNothingIsLeft()
        }
        assertEquals(setOf("x.zip", "whole.zip", "bundles"), folder.root.list()!!.toSet())
    }

    @Test
    fun `a full storage and too many files are refused`() {
        val full = Bundles(File(folder.root, "bundles"), spare = Long.MAX_VALUE / 2)
        val error = assertThrows(Refusal::class.java) {
            runBlocking { full.install("nano", FolderSource(Golden.bundle("int4"))) {} }
        }
        assertTrue(error.problem, "storage is full" in error.problem)
        assertThrows(Refusal::class.java) {
            install("many", { take -> for (number in 0..2000) take("file$number", ByteArrayInputStream(ByteArray(0))) })
        }
        checkNothingIsLeft()
    }
}
