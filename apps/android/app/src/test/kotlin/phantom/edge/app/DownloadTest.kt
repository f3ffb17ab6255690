package phantom.edge.app

import kotlinx.coroutines.runBlocking
import org.junit.After
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import phantom.edge.app.bundles.Download
import java.io.File
import kotlin.random.Random

/** Downloads from a server that server.breaks connections. */
internal class DownloadTest {
    @get:Rule
    val folder = TemporaryFolder()

    private val content = Random(7).nextBytes(3_000_000)
    private val server = BreakingServer(content)

    @After
    fun end() = server.close()

    private val target get() = File(folder.root, "nano.zip")

    private fun download(sha256: String = server.digest, tries: Int = 4) =
        Download(server.address, sha256, target, tries, 1)

    @Test
    fun `a whole file comes in one go`() = runBlocking {
        val seen = ArrayList<Pair<Long, Long>>()
        download().fetch { done, all -> seen.add(done to all) }
        assertArrayEquals(content, target.readBytes())
        assertEquals(content.size.toLong() to content.size.toLong(), seen.last())
        assertEquals(listOf<String?>(null), server.ranges)
        assertEquals(listOf("nano.zip"), folder.root.list()!!.toList())
    }

    @Test
    fun `a broken connection goes on where it broke`() = runBlocking {
        server.breaks.addAll(listOf(1_000_000, 500_000))
        download().fetch()
        assertArrayEquals(content, target.readBytes())
        assertEquals(3, server.ranges.size)
        val starts = server.ranges.drop(1).map { it!!.filter { letter -> letter.isDigit() }.toInt() }
        assertTrue("$starts", starts[0] in 1..1_000_000 && starts[1] in starts[0] + 1..1_500_000)
    }

    @Test
    fun `a download that failed goes on at the next call, in another process, too`() = runBlocking {
        server.breaks.addAll(listOf(1_000_000, 0, 0))
        val error = assertThrows(Refusal::class.java) { runBlocking { download(tries = 2).fetch() } }
        assertTrue(error.remedy, "goes on at" in error.remedy)
        assertFalse(target.exists())
        server.breaks.clear()
        server.ranges.clear()
        download().fetch()
        assertArrayEquals(content, target.readBytes())
        assertTrue(server.ranges.single()!!.startsWith("bytes="))
    }

    @Test
    fun `another version of the file is fetched from its beginning`() = runBlocking {
        server.breaks.addAll(listOf(1_000_000, 0))
        assertThrows(Refusal::class.java) { runBlocking { download(tries = 1).fetch() } }
        server.breaks.clear()
        server.tag = "\"two\""
        download().fetch()
        assertArrayEquals(content, target.readBytes())
    }

    @Test
    fun `without a version, and without ranges, it begins anew`() = runBlocking {
        for (hasTag in listOf(true, false)) {
            target.delete()
            server.tag = if (hasTag) "\"one\"" else null
            server.knowsRanges = !hasTag
            server.breaks.add(700_000)
            download().fetch()
            assertArrayEquals(content, target.readBytes())
        }
    }

    @Test
    fun `another file is refused and thrown away`() {
        val error = assertThrows(Refusal::class.java) { runBlocking { download("0".repeat(64)).fetch() } }
        assertTrue(error.problem, "SHA-256 differs" in error.problem)
        assertEquals(0, folder.root.list()!!.size)
    }

    @Test
    fun `a wrong address and a wrong digest are refused`() {
        server.status = 404
        val error = assertThrows(Refusal::class.java) { runBlocking { download().fetch() } }
        assertTrue(error.problem, "404" in error.problem)
        assertEquals(1, server.ranges.size)
        assertThrows(Refusal::class.java) { download("abc") }
        for (url in listOf("nano.zip", "file:///etc/hosts", "nothing://x")) {
            assertThrows(url, Refusal::class.java) { runBlocking { Download(url, server.digest, target).fetch() } }
        }
    }
}
