package phantom.edge.app.store

import phantom.edge.app.Refusal
import java.io.File
import java.io.IOException
import java.io.InputStream
import java.security.MessageDigest

private const val MOST_BYTES = 64 shl 20

/** Pictures of conversations as they were given, each in a file that is named after its content. */
internal class PictureFiles(private val folder: File) {
    /** Keeps a picture, and returns its name. Raises Refusal. */
    fun keep(bytes: ByteArray): String {
        val name = MessageDigest.getInstance("SHA-256").digest(bytes).joinToString("") { "%02x".format(it) }
        val file = File(folder, name)
        if (file.isFile) return name
        folder.mkdirs()
        val new = File(folder, "$name.tmp")
        try {
            new.writeBytes(bytes)
            if (!new.renameTo(file)) throw IOException("$file cannot be written")
        } catch (error: IOException) {
            new.delete()
            throw Refusal("the picture cannot be kept (${error.message})", "make room in the storage", error)
        }
        return name
    }

    /** The file of a picture. */
    fun file(name: String): File = File(folder, name)

    /** Removes the pictures that no conversation has any more. */
    fun sweep(used: Set<String>) {
        folder.listFiles().orEmpty().filter { it.name !in used }.forEach { it.delete() }
    }

    companion object {
        /** All bytes of a picture. Raises Refusal for one that is too large. */
        fun read(stream: InputStream): ByteArray {
            val bytes = stream.readBytes(MOST_BYTES + 1)
            if (bytes.size > MOST_BYTES) throw Refusal("the picture has more than 64 MB", "make it smaller first")
            return bytes
        }

        private fun InputStream.readBytes(most: Int): ByteArray {
            val block = ByteArray(1 shl 16)
            val out = java.io.ByteArrayOutputStream()
            while (out.size() < most) {
                val size = read(block)
                if (size < 0) break
                out.write(block, 0, size)
            }
            return out.toByteArray()
        }
    }
}
