package phantom.edge.app.bundles

import phantom.edge.app.Refusal
import java.io.File
import java.io.InputStream
import java.util.zip.ZipException
import java.util.zip.ZipInputStream

/** Files of a bundle, wherever they are: a zip, a folder of the storage framework, an asset. */
internal fun interface Source {
    /** Gives each file's name (with slashes) and content, one after the other. */
    fun each(take: (String, InputStream) -> Unit)
}

/** The files in a zip. Its stream is closed at the end. */
internal class ZipSource(private val open: () -> InputStream) : Source {
    override fun each(take: (String, InputStream) -> Unit) {
        var files = 0
        try {
            ZipInputStream(open()).use { zip ->
                while (true) {
                    val entry = zip.nextEntry ?: break
                    if (entry.isDirectory) continue
                    files++
                    take(entry.name, zip)
                }
            }
        } catch (error: ZipException) {
            throw Refusal("the zip is damaged (${error.message})", "copy or download it again", error)
        }
        if (files == 0) throw Refusal("the file is no zip, or an empty one", "choose the zip of a bundle's folder")
    }
}

/** The files in a folder. */
internal class FolderSource(private val folder: File) : Source {
    override fun each(take: (String, InputStream) -> Unit) {
        for (file in folder.walkTopDown().filter { it.isFile }) {
            file.inputStream().use { take(file.relativeTo(folder).invariantSeparatorsPath, it) }
        }
    }
}
