package phantom.edge.app

import com.sun.net.httpserver.HttpExchange
import com.sun.net.httpserver.HttpServer
import java.io.Closeable
import java.io.IOException
import java.net.InetSocketAddress
import java.security.MessageDigest

/** A server of one file, which breaks connections. */
internal class BreakingServer(private val content: ByteArray) : Closeable {
    private val server = HttpServer.create(InetSocketAddress("127.0.0.1", 0), 0)

    /** The ranges that were asked for, null where none was. */
    val ranges = ArrayList<String?>()

    /** Bytes after which each connection breaks, one after the other; then none breaks. */
    val breaks = ArrayDeque<Int>()
    var tag: String? = "\"one\""
    var knowsRanges = true
    var status = 200
    val address get() = "http://127.0.0.1:${server.address.port}/nano.zip"
    val digest = MessageDigest.getInstance("SHA-256").digest(content).joinToString("") { "%02x".format(it) }

    init {
        server.createContext("/") { answer(it) }
        server.start()
    }

    override fun close() = server.stop(0)

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
        } catch (_: IOException) { // what was promised is more than what was sent
            return
        }
    }
}
