package phantom.edge.app.screens

import android.content.Intent
import android.net.Uri
import android.os.Bundle
import android.provider.DocumentsContract
import android.provider.OpenableColumns
import android.view.View
import android.widget.Button
import android.widget.EditText
import android.widget.LinearLayout
import android.widget.ScrollView
import android.widget.TextView
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.flow.combine
import kotlinx.coroutines.launch
import phantom.edge.app.R
import phantom.edge.app.Refusal
import phantom.edge.app.bundles.Arrival
import phantom.edge.app.bundles.TreeSource
import phantom.edge.app.bundles.ZipSource
import java.io.FileNotFoundException

private const val PICK_ZIP = 1
private const val PICK_FOLDER = 2
private const val MEGA = 1e6

/** The bundles of this app: which one is used, and where new ones come from. */
internal class BundlesActivity : Screen() {
    private lateinit var status: TextView
    private lateinit var arrival: TextView
    private lateinit var rows: LinearLayout
    private lateinit var address: EditText
    private lateinit var digest: EditText
    private lateinit var cancel: Button

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        status = announced(R.id.status)
        arrival = announced(R.id.counts)
        rows = LinearLayout(this).apply {
            id = R.id.rows
            orientation = LinearLayout.VERTICAL
        }
        address = field(R.id.address, R.string.download_address).apply { setSingleLine() }
        digest = field(R.id.digest, R.string.download_digest).apply { setSingleLine() }
        cancel = button(R.id.cancel, R.string.cancel) { app.delivery.cancel() }
        val zip = button(View.NO_ID, R.string.import_zip) { pickZip() }
        val folder = button(View.NO_ID, R.string.import_folder) { pickFolder() }
        val download = button(R.id.download, R.string.download) { download() }
        val content = LinearLayout(this).apply { orientation = LinearLayout.VERTICAL }
        for (view in listOf(status, rows, row(zip, folder), address, digest, row(download, cancel), arrival)) {
            content.addView(view)
        }
        val root = column()
        root.addView(ScrollView(this).apply { addView(content) }, filling())
        setContentView(root)
    }

    override fun follow() {
        each(combine(app.assistant.model, app.delivery.state) { model, come -> model to come }) { (model, come) ->
            status.text = words(model)
            arrival.text = words(come)
            cancel.visibility = if (come is Arrival.Loading) View.VISIBLE else View.GONE
            if (come !is Arrival.Loading) showBundles()
        }
    }

    private fun words(come: Arrival): String = when (come) {
        Arrival.Idle -> ""

        is Arrival.Loading -> if (come.all > 0) {
            getString(R.string.loading_of, come.done / MEGA, come.all / MEGA)
        } else {
            getString(R.string.loading, come.done / MEGA)
        }

        is Arrival.Arrived -> getString(R.string.arrived, come.name)

        is Arrival.Failed -> come.words
    }

    private fun showBundles() {
        rows.removeAllViews()
        val chosen = app.bundles.chosen
        for (name in app.bundles.names) {
            val isChosen = name == chosen
            val label = text(words = if (isChosen) getString(R.string.in_use, name) else name)
            val use = button(View.NO_ID, R.string.use_bundle, getString(R.string.use_named, name)) { use(name) }
            val remove = button(View.NO_ID, R.string.remove_bundle, getString(R.string.remove_named, name)) {
                app.bundles.remove(name)
                showBundles()
            }
            if (isChosen) rows.addView(label) else rows.addView(row(label, use, remove, wide = label))
        }
    }

    private fun use(name: String) {
        app.scope.launch(Dispatchers.IO) { app.use(name) }
    }

    private fun say(words: String) {
        arrival.text = words
    }

    private fun download() = attempt(::say) {
        val url = address.text.toString().trim()
        if (!url.startsWith("https://")) {
            throw Refusal("'$url' is no address that begins with https://", "give the address of a bundle's zip")
        }
        app.delivery.download(url, digest.text.toString())
    }

    private fun pickZip() {
        val intent = Intent(Intent.ACTION_OPEN_DOCUMENT).addCategory(Intent.CATEGORY_OPENABLE).setType("*/*")
        startActivityForResult(intent, PICK_ZIP)
    }

    private fun pickFolder() = startActivityForResult(Intent(Intent.ACTION_OPEN_DOCUMENT_TREE), PICK_FOLDER)

    override fun onActivityResult(requestCode: Int, resultCode: Int, data: Intent?) {
        val uri = data?.data ?: return
        if (resultCode != RESULT_OK) return
        try {
            when (requestCode) {
                PICK_ZIP -> app.delivery.import(nameOf(uri), ZipSource { open(uri) })

                PICK_FOLDER -> {
                    val id = DocumentsContract.getTreeDocumentId(uri)
                    val name = id.substringAfterLast('/').substringAfterLast(':')
                    app.delivery.import(name, TreeSource(contentResolver, uri))
                }
            }
        } catch (error: Refusal) {
            say("${error.problem}\n${error.remedy}")
        }
    }

    private fun open(uri: Uri) = contentResolver.openInputStream(uri) ?: throw FileNotFoundException("$uri")

    private fun nameOf(uri: Uri): String {
        val columns = arrayOf(OpenableColumns.DISPLAY_NAME)
        val found = contentResolver.query(uri, columns, null, null, null)?.use { row ->
            if (row.moveToFirst()) row.getString(0) else null
        }
        return found ?: uri.lastPathSegment.orEmpty().substringAfterLast('/')
    }
}
