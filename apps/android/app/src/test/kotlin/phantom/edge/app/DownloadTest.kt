package phantom.edge.app

import com.sun.net.httpserver.HttpExchange
import com.sun.net.httpserver.HttpServer
import kotlinx.coroutines.runBlocking
import org.junit.After
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import phantom.edge.app.bundles.Download
import java.io.File
import java.io.IOException
import java.net.InetSocketAddress
import java.security.MessageDigest
import kotlin.random.Random

/** Downloads from a server that breaks connections. */
internal class DownloadTest {
    @get:Rule
    val folder = TemporaryFolder()

    private val content = Random(7).nextBytes(3_000_000)
    private val server = HttpServer.create(InetSocketAddress("127.0.0.1", 0), 0)
    private val ranges = ArrayList<String?>()

    /** Bytes after which each connection breaks, one after the other; then none breaks. */
    private val breaks = ArrayDeque<Int>()
    private var tag: String? = "\"one\""
    private var knowsRanges = true
    private var status = 200

    @Before
    fun serve() {
        server.createContext("/") { answer(it) }
        server.start()
    }

    @After
    fun end() = server.stop(0)

    private fun answer(exchange: HttpExchange) {
        val range = exchange.requestHeaders.getFirst("Range")
        ranges.add(range)
        val isSame = exchange.requestHeaders.getFirst("If-Range") == tag
        val start = if (range != null && isSame && knowsRanges) range.filter { it.isDigit() }.toInt() else 0
        tag?.let { exchange.responseHeaders.add("ETag", it) }
        if (start > 0) exchange.responseHeaders.add("Content-Range", "bytes $start-${content.size - 1}/${content.size}")
        val code = if (start > 0) 206 else status
        val most = breaks.removeFirstOrNull() ?: content.size
        exchange.sendResponseHeaders(code, content.size.toLong() - start)
        try {
            exchange.responseBody.write(content, start, minOf(most, content.size - start))
            exchange.close()
        } catch (_: IOException) { // what this server promised is more than it sent
            exchange.httpContext.server
        }
    }

    private val address get() = "http://127.0.0.1:${server.address.port}/nano.zip"
    private val digest = MessageDigest.getInstance("SHA-256").digest(content).joinToString("") { "%02x".format(it) }
    private val target get() = File(folder.root, "nano.zip")

    private fun download(sha256: String = digest, tries: Int = 4) = Download(address, sha256, target, tries, 1)

    @Test
    fun `a whole file comes in one go`() = runBlocking {
        val seen = ArrayList<Pair<Long, Long>>()
        download().fetch { done, all -> seen.add(done to all) }
        assertArrayEquals(content, target.readBytes())
        assertEquals(content.size.toLong() to content.size.toLong(), seen.last())
        assertEquals(listOf<String?>(null), ranges)
        assertEquals(listOf("nano.zip"), folder.root.list()!!.toList())
    }

    @Test
    fun `a broken connection goes on where it broke`() = runBlocking {
        breaks.addAll(listOf(1_000_000, 500_000))
        download().fetch()
        assertArrayEquals(content, target.readBytes())
        assertEquals(3, ranges.size)
        val starts = ranges.drop(1).map { it!!.filter { letter -> letter.isDigit() }.toInt() }
        assertTrue("$starts", starts[0] in 1..1_000_000 && starts[1] in starts[0] + 1..1_500_000)
    }

    @Test
    fun `a download that failed goes on at the next call, in another process, too`() = runBlocking {
        breaks.addAll(listOf(1_000_000, 0, 0))
        val error = assertThrows(Refusal::class.java) { runBlocking { download(tries = 2).fetch() } }
        assertTrue(error.remedy, "goes on at" in error.remedy)
        assertFalse(target.exists())
        breaks.clear()
        ranges.clear()
        download().fetch()
        assertArrayEquals(content, target.readBytes())
        assertTrue(ranges.single()!!.startsWith("bytes="))
    }

    @Test
    fun `another version of the file is fetched from its beginning`() = runBlocking {
        breaks.addAll(listOf(1_000_000, 0))
        assertThrows(Refusal::class.java) { runBlocking { download(tries = 1).fetch() } }
        breaks.clear()
        tag = "\"two\""
        download().fetch()
        assertArrayEquals(content, target.readBytes())
    }

    @Test
    fun `without a version, and without ranges, it begins anew`() = runBlocking {
        for (hasTag in listOf(true, false)) {
            target.delete()
            tag = if (hasTag) "\"one\"" else null
            knowsRanges = !hasTag
            breaks.add(700_000)
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
        status = 404
        val error = assertThrows(Refusal::class.java) { runBlocking { download().fetch() } }
        assertTrue(error.problem, "404" in error.problem)
        assertEquals(1, ranges.size)
        assertThrows(Refusal::class.java) { download("abc") }
        for (url in listOf("nano.zip", "file:///etc/hosts", "nothing://x")) {
            assertThrows(url, Refusal::class.java) { runBlocking { Download(url, digest, target).fetch() } }
        }
    }
}
