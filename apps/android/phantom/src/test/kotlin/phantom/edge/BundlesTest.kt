package phantom.edge

import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import phantom.edge.bundle.BundleFolder
import phantom.edge.json.jsonText
import phantom.edge.json.parseJson
import java.io.File
import java.security.MessageDigest
import java.util.Random

/** Changes a bundle's manifest, and seals it again. */
internal fun reseal(folder: File, change: (MutableMap<String, Any?>) -> Unit) {
    val file = File(folder, "phantom.json")

    @Suppress("UNCHECKED_CAST")
    val manifest = parseJson(file.readText()) as MutableMap<String, Any?>
    change(manifest)
    manifest["seal"] = "0".repeat(64)
    val text = jsonText(manifest)
    val digest = MessageDigest.getInstance("SHA-256").digest(text.toByteArray())
    val seal = digest.joinToString("") { "%02x".format(it) }
    file.writeText(text.replace("0".repeat(64), seal))
}

@Suppress("UNCHECKED_CAST")
internal fun Map<String, Any?>.inside(vararg steps: String): MutableMap<String, Any?> =
    steps.fold(this) { found, step -> found[step] as Map<String, Any?> } as MutableMap<String, Any?>

internal class BundlesTest {
    @Test
    fun `damaged bundles are refused as Python refuses them`(@TempDir desk: File) {
        val all = Conformance.json("damaged.json").list
        assertTrue(all.size >= 30)
        for (one in all) {
            val name = one["name"].text
            val bundle = Conformance.copy("int4", File(desk, name))
            for (file in one["missing"].texts) File(bundle, file).delete()
            for (file in one["files"].texts) {
                Conformance.file("damaged/${one["folder"].text}/$file").copyTo(File(bundle, file), overwrite = true)
            }
            val error = assertThrows(PhantomError::class.java, { open(bundle).close() }, name)
            assertTrue(Regex(one["says"].text).containsMatchIn(error.problem), "$name: ${error.problem}")
            assertTrue(error.remedy.isNotEmpty() && '\n' !in error.problem)
            bundle.deleteRecursively()
        }
    }

    @Test
    fun `a manifest with any byte changed is refused`(@TempDir desk: File) {
        val bundle = Conformance.copy("int4", File(desk, "bundle"))
        val file = File(bundle, "phantom.json")
        val whole = file.readBytes()
        val random = Random(8)
        repeat(300) {
            val changed = whole.copyOf()
            changed[random.nextInt(changed.size)] = random.nextInt(256).toByte()
            if (changed.contentEquals(whole)) return@repeat
            file.writeBytes(changed)
            assertThrows(PhantomError::class.java) { BundleFolder.read(bundle) }
        }
    }

    @Test
    fun `a bundle that cannot fit is refused before it is loaded`(@TempDir desk: File) {
        val bundle = Conformance.copy("int4", File(desk, "bundle"))
        val needed = open(bundle).use { it.leastMemory }
        assertTrue(needed > 50_000_000)
        File(bundle, "decoder.data").delete() // which nobody opens
        fun device(bytes: Long) = object : Memory {
            override val total = 4_000_000_000

            override fun available() = bytes
        }
        for (options in listOf(Options(memory = device(needed - 1)), Options(memoryLimit = needed - 1))) {
            val error = assertThrows(PhantomError.TooLarge::class.java) { open(bundle, options).close() }
            assertTrue(error.remedy.isNotEmpty())
        }
        assertThrows(PhantomError.DamagedBundle::class.java) { open(bundle, Options(memory = device(needed))).close() }
    }

    @Test
    fun `a bundle whose template is not written out is refused with a remedy`(@TempDir desk: File) {
        val bundle = Conformance.copy("int4", File(desk, "bundle"))
        reseal(bundle) { it.inside("prompt")["turns"] = null }
        val error = assertThrows(PhantomError.Unsupported::class.java) { open(bundle).close() }
        assertTrue("chat template" in error.problem && "export again" in error.remedy)
    }

    @Test
    fun `progress counts all bytes`() = runBlocking {
        val found = ArrayList<Pair<Long, Long>>()
        Phantom.open(Conformance.bundle("int4")) { done, all -> found.add(done to all) }.close()
        assertEquals(found.last().second, found.last().first)
        assertTrue(found.size >= 5 && found.zipWithNext().all { (one, next) -> one.first < next.first })
    }

    @Test
    fun `the defaults are those of a phone, and impossible options are refused`() {
        assertTrue(Options().threads in 1..4)
        val attempts = listOf(
            { Options(threads = -1) },
            { Options(pictures = 0) },
            { Options(memoryLimit = 0) },
            { Settings(0) },
            { Settings(temperature = -1.0) },
            { Settings(topP = 0.0) },
            { Settings(topK = -1) },
        )
        for (attempt in attempts) assertThrows(PhantomError.BadQuestion::class.java) { attempt() }
    }
}
