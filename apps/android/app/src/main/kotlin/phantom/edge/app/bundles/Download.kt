package phantom.edge.app.bundles

import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.delay
import kotlinx.coroutines.ensureActive
import phantom.edge.app.Refusal
import java.io.File
import java.io.FileOutputStream
import java.io.IOException
import java.net.HttpURLConnection
import java.net.URL
import java.security.MessageDigest

private const val PARTIAL = 206
private const val NOT_THERE = 416
private const val TIMEOUT_MILLIS = 20_000
private val RANGE = Regex("bytes (\\d+)-(\\d+)/(\\d+)")
private val SHA256 = Regex("[0-9a-f]{64}")

/**
 * A file from the network, which goes on where it was interrupted.
 *
 * @property sha256 Digest of the whole file, hexadecimal; a file with another one is thrown away.
 * @property target The whole file. Until then its beginning is in `target.part`, and the version that the server named in
 * `target.from`.
 * @property tries Number of connections that may fail one after the other without a new byte.
 * @property pauseMillis Pause before the second try, doubled for each further one.
 */
internal class Download(
    private val url: String,
    private val sha256: String,
    private val target: File,
    private val tries: Int = 4,
    private val pauseMillis: Long = 1000,
) {
    private val part = File(target.path + ".part")
    private val from = File(target.path + ".from")
    private val wanted = sha256.trim().lowercase()

    init {
        if (!SHA256.matches(wanted)) {
            throw Refusal("'$sha256' is no SHA-256", "give its 64 hexadecimal digits: sha256sum FILE")
        }
    }

    /**
     * Fetches what is missing. [progress] takes the bytes so far and all bytes, -1 where the server does not say.
     *
     * Raises Refusal; then what arrived is kept for the next call, unless it is of another file.
     */
    suspend fun fetch(progress: (Long, Long) -> Unit = { _, _ -> }): File {
        target.parentFile?.mkdirs()
        var failures = 0
        while (true) {
            val before = part.length()
            try {
                connect(progress)
                break
            } catch (error: IOException) {
                failures = if (part.length() > before) 1 else failures + 1
                if (failures >= tries) throw broken(error)
                delay(pauseMillis shl (failures - 1))
            }
        }
        if (digest() != wanted) {
            part.delete()
            from.delete()
            throw Refusal("the file at $url is not the wanted one: its SHA-256 differs", "check address and SHA-256")
        }
        if (!part.renameTo(target)) throw Refusal("$target cannot be written", "check the storage")
        from.delete()
        return target
    }

    private fun broken(error: IOException): Refusal {
        val kept = part.length() / 1_000_000
        return Refusal("the connection failed (${error.message})", "try again: it goes on at $kept MB", error)
    }

    private suspend fun connect(progress: (Long, Long) -> Unit) {
        val connection = try {
            URL(url).openConnection() as? HttpURLConnection
        } catch (error: IOException) {
            throw Refusal("'$url' is no address (${error.message})", "give one that begins with https://", error)
        } ?: throw Refusal("'$url' is no address of the web", "give one that begins with https://")
        connection.connectTimeout = TIMEOUT_MILLIS
        connection.readTimeout = TIMEOUT_MILLIS
        connection.setRequestProperty("Accept-Encoding", "identity")
        val tag = if (from.isFile) from.readText() else ""
        val start = if (tag.isEmpty()) 0 else part.length() // without a version the beginning may be another file's
        if (start > 0) {
            connection.setRequestProperty("Range", "bytes=$start-")
            connection.setRequestProperty("If-Range", tag)
        }
        try {
            receive(connection, start, progress)
        } finally {
            connection.disconnect()
        }
    }

    private suspend fun receive(connection: HttpURLConnection, start: Long, progress: (Long, Long) -> Unit) {
        val status = connection.responseCode
        if (status == NOT_THERE && start > 0) return // all bytes are here; the digest decides
        if (status != HttpURLConnection.HTTP_OK && status != PARTIAL) {
            if (status >= HttpURLConnection.HTTP_INTERNAL_ERROR) throw IOException("the server answers $status")
            throw Refusal("the server answers $status for $url", "check the address")
        }
        val range = RANGE.matchEntire(connection.getHeaderField("Content-Range").orEmpty())
        if (status == PARTIAL && range?.groupValues?.get(1)?.toLong() != start) throw IOException("another range came")
        val begin = if (status == PARTIAL) start else 0
        val all = if (status == PARTIAL) range!!.groupValues[3].toLong() else connection.contentLengthLong
        if (begin == 0L) {
            part.delete()
            val tag = connection.getHeaderField("ETag").orEmpty()
            from.writeText(if (tag.startsWith("W/")) "" else tag) // a weak one promises no equal bytes
        }
        var done = begin
        val context = currentCoroutineContext()
        val block = ByteArray(1 shl 16)
        connection.inputStream.use { stream ->
            FileOutputStream(part, begin > 0).use { out ->
                while (true) {
                    context.ensureActive()
                    val size = stream.read(block)
                    if (size < 0) break
                    out.write(block, 0, size)
                    done += size
                    progress(done, all)
                }
            }
        }
        if (all in (done + 1)..Long.MAX_VALUE) throw IOException("it ended after $done of $all bytes")
    }

    private fun digest(): String {
        val digest = MessageDigest.getInstance("SHA-256")
        val block = ByteArray(1 shl 16)
        part.inputStream().use { stream ->
            while (true) {
                val size = stream.read(block)
                if (size < 0) break
                digest.update(block, 0, size)
            }
        }
        return digest.digest().joinToString("") { "%02x".format(it) }
    }
}
