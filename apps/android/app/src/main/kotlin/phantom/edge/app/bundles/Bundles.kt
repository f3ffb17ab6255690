package phantom.edge.app.bundles

import phantom.edge.app.Refusal
import java.io.EOFException
import java.io.File
import java.io.IOException
import java.io.InputStream

private const val MANIFEST = "phantom.json"
private const val STAGING = ".new"
private const val CHOSEN = ".chosen"
private const val MOST_FILES = 1000
private const val MEGA = 1_000_000L

/**
 * The bundles of this app, each a folder in [folder].
 *
 * @property spare Bytes of the storage that stay free.
 */
internal class Bundles(private val folder: File, private val spare: Long = 50 * MEGA) {
    /** Names, in order. */
    val names: List<String>
        get() = folder.list().orEmpty().filter { File(path(it), MANIFEST).isFile && !it.startsWith(".") }.sorted()

    /** The name of the bundle in use; the first one where none was chosen, null where there is none. */
    var chosen: String?
        get() {
            val names = names
            val file = File(folder, CHOSEN)
            return if (file.isFile) {
                file.readText().takeIf {
                    it in names
                } ?: names.firstOrNull()
            } else {
                names.firstOrNull()
            }
        }
        set(name) {
            folder.mkdirs()
            val file = File(folder, "$CHOSEN.tmp")
            file.writeText(name.orEmpty())
            file.renameTo(File(folder, CHOSEN))
        }

    /** The folder of a bundle. */
    fun path(name: String): File = File(folder, name)

    /** Removes a bundle. */
    fun remove(name: String) {
        require(name in names)
        path(name).deleteRecursively()
    }

    /** Removes what an import left that was interrupted. */
    fun sweep() {
        File(folder, STAGING).deleteRecursively()
    }

    /**
     * Copies a bundle in; [prove] is called with its folder and refuses what is none, before it gets its place.
     *
     * A bundle of the same name is replaced. [progress] takes the bytes so far. Raises Refusal, or what [prove] raises;
     * then nothing is left. Returns the name.
     */
    suspend fun install(
        name: String,
        source: Source,
        progress: (Long) -> Unit = {},
        prove: suspend (File) -> Unit,
    ): String {
        val plain = plainName(name)
        sweep()
        val staging = File(File(folder, STAGING), plain)
        try {
            copy(source, staging, progress)
            val root = rootOf(staging)
            prove(root)
            val place = path(plain)
            val old = File(File(folder, STAGING), "$plain.old")
            if (place.exists() && !place.renameTo(old)) throw IOException("$place cannot be replaced")
            if (!root.renameTo(place)) {
                old.renameTo(place)
                throw IOException("$root cannot be moved to $place")
            }
            return plain
        } catch (error: IOException) {
            throw Refusal("the bundle cannot be copied (${error.message})", "try again", error)
        } finally {
            sweep()
        }
    }

    private fun plainName(name: String): String {
        val plain = name.removeSuffix(".zip").map { if (it.isLetterOrDigit() || it in "-_.") it else '-' }
        return plain.joinToString("").trimStart('.').take(60).ifEmpty { "bundle" }
    }

    private fun copy(source: Source, to: File, progress: (Long) -> Unit) {
        var files = 0
        var bytes = 0L
        val block = ByteArray(1 shl 16)
        fun write(file: File, stream: InputStream) = file.outputStream().use { out ->
            while (true) {
                val size = try {
                    stream.read(block)
                } catch (error: EOFException) {
                    throw Refusal("the bundle ends in the middle of ${file.name}", "copy or download it again", error)
                }
                if (size < 0) break
                if (to.usableSpace < spare + size) {
                    throw Refusal("the storage is full after ${bytes / MEGA} MB", "remove a bundle or other files")
                }
                out.write(block, 0, size)
                bytes += size
                progress(bytes)
            }
        }
        to.mkdirs()
        source.each { name, stream ->
            if (++files > MOST_FILES) throw Refusal("more than $MOST_FILES files", "choose the folder of one bundle")
            val file = File(to, name)
            val inside = file.canonicalPath.startsWith(to.canonicalPath + File.separator)
            if (!inside) throw Refusal("'$name' leaves the bundle's folder", "choose a bundle that phantom-edge wrote")
            file.parentFile?.mkdirs()
            write(file, stream)
        }
    }

    /** The folder with the manifest: a zip often holds the bundle's folder, not its files. */
    private fun rootOf(staging: File): File {
        if (File(staging, MANIFEST).isFile) return staging
        val inner = staging.listFiles().orEmpty().filter { File(it, MANIFEST).isFile }
        return inner.singleOrNull() ?: throw Refusal(
            "there is no $MANIFEST, or more than one",
            "choose the folder that phantom-edge export wrote, or its zip",
        )
    }
}
