package phantom.edge.app.bundles

import android.content.ContentResolver
import android.net.Uri
import android.provider.DocumentsContract
import android.provider.DocumentsContract.Document
import phantom.edge.app.Refusal
import java.io.IOException
import java.io.InputStream

private const val MOST_DEPTH = 4

/** The files in a folder that the user chose by the storage access framework. */
internal class TreeSource(private val resolver: ContentResolver, private val tree: Uri) : Source {
    override fun each(take: (String, InputStream) -> Unit) =
        visit(DocumentsContract.getTreeDocumentId(tree), "", 0, take)

    private fun visit(folder: String, prefix: String, depth: Int, take: (String, InputStream) -> Unit) {
        if (depth > MOST_DEPTH) throw Refusal("the folder is nested too deeply", "choose the folder of one bundle")
        val children = DocumentsContract.buildChildDocumentsUriUsingTree(tree, folder)
        val columns = arrayOf(Document.COLUMN_DOCUMENT_ID, Document.COLUMN_DISPLAY_NAME, Document.COLUMN_MIME_TYPE)
        val rows = resolver.query(children, columns, null, null, null) ?: throw IOException("the folder is not there")
        rows.use {
            while (it.moveToNext()) {
                val id = it.getString(0)
                val name = prefix + it.getString(1)
                if (it.getString(2) == Document.MIME_TYPE_DIR) {
                    visit(id, "$name/", depth + 1, take)
                } else {
                    val uri = DocumentsContract.buildDocumentUriUsingTree(tree, id)
                    val stream = resolver.openInputStream(uri) ?: throw IOException("$name cannot be read")
                    stream.use { take(name, stream) }
                }
            }
        }
    }
}
