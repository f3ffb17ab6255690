package phantom.edge.bundle

import phantom.edge.PhantomError
import phantom.edge.json.WrongJson
import phantom.edge.json.parseJson
import phantom.edge.json.strictText
import java.io.File
import java.io.IOException
import java.security.MessageDigest

internal const val MANIFEST = "phantom.json"
private const val VERSION = 2L
private const val MANIFEST_MEGABYTES = 64
private val PLAIN_NAME = Regex("[\\p{L}\\p{N}_-][\\p{L}\\p{N}_.-]*(/[\\p{L}\\p{N}_-][\\p{L}\\p{N}_.-]*){0,8}")

/** A bundle's folder, whose files match its manifest. */
internal class BundleFolder private constructor(val folder: File, val manifest: Manifest) {
    fun file(name: String): File = File(folder, name)

    /** Compares every listed file with its size and SHA-256. [count] takes the bytes that were read. */
    fun check(count: (Long) -> Unit) {
        for ((name, listed) in manifest.files) check(file(name), listed, count)
    }

    private fun check(file: File, listed: ListedFile, count: (Long) -> Unit) {
        if (!file.exists()) throw PhantomError.DamagedBundle("$file is missing")
        if (!file.isFile) throw PhantomError.DamagedBundle("$file is no plain file")
        if (file.length() != listed.bytes) {
            throw PhantomError.DamagedBundle("$file has ${file.length()} bytes, its manifest lists ${listed.bytes}")
        }
        if (sha256(file, count) != listed.sha256) {
            throw PhantomError.DamagedBundle("$file is not the file that was exported: its SHA-256 differs")
        }
    }

    companion object {
        /** Reads the manifest of a folder, which must be signed with [key], and no other file. Raises PhantomError. */
        fun read(folder: File, key: PublicKey? = null): BundleFolder {
            if (!folder.isDirectory) {
                throw PhantomError.DamagedBundle(
                    "there is no folder $folder",
                    "give a bundle: the folder that phantom-edge export wrote",
                )
            }
            val path = File(folder, MANIFEST)
            if (!path.isFile) throw PhantomError.DamagedBundle("$folder is no bundle: it has no $MANIFEST")
            val manifest = try {
                if (path.length() > MANIFEST_MEGABYTES shl 20) throw WrongJson("it is no manifest")
                val bytes = path.readBytes()
                if (key != null) checkSignature(folder, bytes, key)
                val text = strictText(bytes)
                val document = parseJson(text)
                checkVersion(path, document, text)
                document
            } catch (error: WrongJson) {
                throw PhantomError.DamagedBundle("$path cannot be read (${error.message})", cause = error)
            } catch (error: IOException) {
                throw PhantomError.DamagedBundle("$path cannot be read (${error.message})", cause = error)
            }
            try {
                return BundleFolder(folder, readManifest(manifest).also(::checkNames))
            } catch (error: WrongJson) {
                throw PhantomError.DamagedBundle("$path: ${error.message}", cause = error)
            }
        }

        private fun checkVersion(path: File, document: Any?, text: String) {
            val fields = document as? Map<*, *> ?: return
            val version = fields["schema_version"]
            if (version is Long && version != VERSION) {
                throw PhantomError.Unsupported(
                    "$path has schema version $version, this library reads $VERSION",
                    if (version > VERSION) PhantomError.UPDATE else PhantomError.EXPORT_AGAIN,
                )
            }
            val seal = fields["seal"] as? String ?: return
            if (sealOf(text, seal) != seal) {
                throw PhantomError.DamagedBundle("$path is not the file that was exported: its seal does not fit")
            }
        }

        /** Refuses names that leave the folder, and files that are used but not listed. */
        private fun checkNames(manifest: Manifest) {
            val parts = manifest.parts.values
            val used = listOfNotNull(
                manifest.prompt.tokenizer,
                manifest.prompt.chatTemplate,
                manifest.embedding?.file,
                manifest.cache.firstRow,
                manifest.golden,
                manifest.card,
            ) + parts.flatMap { it.weights } + parts.map { it.file }.filter { file ->
                parts.none { part -> part.weights.any { it.startsWith("$file/") } }
            }
            for (name in used) if (name !in manifest.files) throw WrongJson("'$name' is used but not in files")
            for (name in manifest.files.keys) {
                if (name == MANIFEST || name == PROOF) {
                    throw WrongJson("'$name' is in files, where it cannot be listed")
                }
                if (!PLAIN_NAME.matches(name)) throw WrongJson("'$name' is no plain file name")
            }
        }
    }
}

/** The seal that a document should have: SHA-256 of its text, with zeros in place of the [seal] that it has. */
internal fun sealOf(text: String, seal: String): String =
    sha256(text.replace("\"seal\": \"$seal\"", "\"seal\": \"${"0".repeat(seal.length)}\"").toByteArray())

internal fun sha256(bytes: ByteArray): String = hexadecimal(MessageDigest.getInstance("SHA-256").digest(bytes))

private const val BLOCK = 1 shl 18

private fun sha256(file: File, count: (Long) -> Unit): String {
    val digest = MessageDigest.getInstance("SHA-256")
    val block = ByteArray(BLOCK)
    try {
        file.inputStream().use { stream ->
            while (true) {
                val size = stream.read(block)
                if (size < 0) break
                digest.update(block, 0, size)
                count(size.toLong())
            }
        }
    } catch (error: IOException) {
        throw PhantomError.DamagedBundle("$file cannot be read (${error.message})", cause = error)
    }
    return hexadecimal(digest.digest())
}

internal fun hexadecimal(bytes: ByteArray): String = buildString(2 * bytes.size) {
    for (byte in bytes) {
        append(Character.forDigit(byte.toInt() shr 4 and 15, 16))
        append(Character.forDigit(byte.toInt() and 15, 16))
    }
}
