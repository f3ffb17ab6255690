package phantom.edge.app.screens

import android.app.AlertDialog
import android.content.Intent
import android.content.SharedPreferences.OnSharedPreferenceChangeListener
import android.net.Uri
import android.os.Bundle
import android.view.Menu
import android.view.MenuItem
import android.view.View
import android.widget.AbsListView
import android.widget.Button
import android.widget.EditText
import android.widget.ImageView
import android.widget.LinearLayout
import android.widget.ListView
import android.widget.TextView
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.NonCancellable
import kotlinx.coroutines.channels.awaitClose
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.callbackFlow
import kotlinx.coroutines.flow.combine
import kotlinx.coroutines.withContext
import phantom.edge.app.R
import phantom.edge.app.Refusal
import phantom.edge.app.store.PictureFiles
import phantom.edge.app.store.Turn
import java.io.FileNotFoundException

private const val PICK = 1
private const val CONVERSATION = "conversation"
private const val PENDING = "pending"
private const val NONE = -1L

/** Questions about photos, chosen here or shared by another app; answers appear while they are written. */
internal class ConversationActivity : Screen() {
    private lateinit var status: TextView
    private lateinit var vitals: TextView
    private lateinit var adapter: TurnsAdapter
    private lateinit var question: EditText
    private lateinit var ask: Button
    private lateinit var pending: ImageView
    private lateinit var pendingRow: LinearLayout
    private var picture: String? = null

    /** The conversation on the screen; kept, so that the next process begins with it. */
    private var conversation: Long?
        get() = preferences().getLong(CONVERSATION, NONE).takeIf { it != NONE }
        set(value) = preferences().edit().putLong(CONVERSATION, value ?: NONE).apply()

    private fun preferences() = getPreferences(MODE_PRIVATE)

    /** The conversation on the screen, now and after every change; also one that the screen before a rotation made. */
    private val conversations: Flow<Long?> = callbackFlow {
        val listener = OnSharedPreferenceChangeListener { _, _ -> trySend(conversation) }
        preferences().registerOnSharedPreferenceChangeListener(listener)
        trySend(conversation)
        awaitClose { preferences().unregisterOnSharedPreferenceChangeListener(listener) }
    }

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        build()
        show(savedInstanceState?.getString(PENDING))
        if (savedInstanceState == null) takeShared(intent)
    }

    private fun build() {
        status = announced(R.id.status)
        vitals = text(R.id.vitals)
        adapter = TurnsAdapter(app.pictures, { text() }, ::dp)
        val turns = ListView(this).apply {
            id = R.id.turns
            adapter = this@ConversationActivity.adapter
            divider = null
            transcriptMode = AbsListView.TRANSCRIPT_MODE_NORMAL
            isStackFromBottom = true
        }
        question = field(R.id.question, R.string.question_hint).apply { maxLines = 4 }
        ask = button(R.id.ask, R.string.ask) { askOrStop() }
        val photo = button(R.id.photo, R.string.photo, getString(R.string.choose_photo)) { pick() }
        pending = ImageView(this).apply {
            id = R.id.pending
            adjustViewBounds = true
            maxHeight = dp(96)
            contentDescription = getString(R.string.chosen_photo)
        }
        val remove = button(View.NO_ID, R.string.remove_photo) { show(null) }
        pendingRow = row(pending, remove)
        val content = column(status, vitals)
        content.addView(turns, filling())
        content.addView(pendingRow)
        content.addView(row(photo, question, ask, wide = question))
        setContentView(content)
    }

    override fun follow() {
        followVitals(vitals)
        each(app.assistant.model) { status.text = words(it) }
        val assistant = app.assistant
        val news = combine(conversations, assistant.changes, assistant.running) { place, _, turn -> place to turn }
        each(news) { (place, turn) -> update(place, turn) }
    }

    /** Called by one collector alone: of two at once, the one that began earlier could show its turns last. */
    private suspend fun update(place: Long?, running: Turn?) {
        ask.setText(if (running == null) R.string.ask else R.string.stop)
        val turns = withContext(Dispatchers.IO) { place?.let { app.store.turns(it) }.orEmpty() }
        adapter.turns = turns.map { if (it.id == running?.id) running else it }
    }

    private fun say(words: String) {
        status.text = words
    }

    private fun askOrStop() = attempt(::say) {
        if (app.assistant.running.value != null) {
            app.assistant.stop()
        } else {
            ask(question.text.toString(), picture)
        }
    }

    /** Asks, and notes the conversation even where this screen is turned meanwhile. */
    private suspend fun ask(text: String, with: String?) {
        question.text.clear()
        show(null)
        try {
            withContext(NonCancellable) { conversation = app.assistant.ask(conversation, text, with) }
        } catch (error: Refusal) {
            question.setText(text)
            show(with)
            throw error
        }
    }

    private fun pick() {
        val intent = Intent(Intent.ACTION_OPEN_DOCUMENT).addCategory(Intent.CATEGORY_OPENABLE).setType("image/*")
        startActivityForResult(intent, PICK)
    }

    override fun onActivityResult(requestCode: Int, resultCode: Int, data: Intent?) {
        val uri = data?.data
        if (requestCode == PICK && resultCode == RESULT_OK && uri != null) take(uri)
    }

    override fun onNewIntent(intent: Intent) {
        super.onNewIntent(intent)
        takeShared(intent)
    }

    private fun takeShared(intent: Intent) {
        if (intent.action != Intent.ACTION_SEND) return
        @Suppress("DEPRECATION") // its successor is newer than API 26
        val uri: Uri? = intent.getParcelableExtra(Intent.EXTRA_STREAM)
        if (uri != null) {
            conversation = null
            take(uri)
        }
    }

    /** Copies a picture at once: the right to read it ends with this process. */
    private fun take(uri: Uri) {
        val bytes = try {
            contentResolver.openInputStream(uri)?.use { PictureFiles.read(it) }
        } catch (_: FileNotFoundException) {
            null
        } catch (_: SecurityException) {
            null
        } catch (error: Refusal) {
            return say("${error.problem}\n${error.remedy}")
        }
        if (bytes == null) return say("the photo cannot be read\nchoose it again")
        try {
            show(app.pictures.keep(bytes))
        } catch (error: Refusal) {
            say("${error.problem}\n${error.remedy}")
        }
    }

    private fun show(name: String?) {
        picture = name?.takeIf { app.pictures.file(it).isFile }
        pendingRow.visibility = if (picture == null) View.GONE else View.VISIBLE
        pending.setImageBitmap(picture?.let { thumbnail(app.pictures.file(it).path, dp(96)) })
    }

    override fun onSaveInstanceState(outState: Bundle) {
        super.onSaveInstanceState(outState)
        outState.putString(PENDING, picture)
    }

    override fun onCreateOptionsMenu(menu: Menu): Boolean {
        for ((id, words) in MENU) menu.add(Menu.NONE, id, Menu.NONE, words)
        return true
    }

    override fun onOptionsItemSelected(item: MenuItem): Boolean {
        when (item.itemId) {
            R.id.new_conversation -> conversation = null
            R.id.conversations -> choose()
            R.id.delete_conversation -> delete()
            R.id.camera -> startActivity(Intent(this, CameraActivity::class.java))
            R.id.bundles -> startActivity(Intent(this, BundlesActivity::class.java))
            R.id.self_test -> startActivity(Intent(this, SelfTestActivity::class.java))
            R.id.benchmark -> startActivity(Intent(this, BenchmarkActivity::class.java))
            else -> return super.onOptionsItemSelected(item)
        }
        return true
    }

    private fun choose() = attempt(::say) {
        val all = withContext(Dispatchers.IO) { app.store.all() }
        if (all.isEmpty()) throw Refusal(getString(R.string.no_conversations), getString(R.string.question_hint))
        AlertDialog.Builder(this)
            .setTitle(R.string.conversations)
            .setItems(all.map { it.title }.toTypedArray()) { _, place -> conversation = all[place].id }
            .show()
    }

    private fun delete() = attempt(::say) {
        val place = conversation
        app.assistant.stop()
        withContext(Dispatchers.IO) {
            place?.let { app.store.remove(it) }
            app.pictures.sweep(app.store.pictures() + setOfNotNull(picture))
        }
        conversation = null
    }

    private companion object {
        val MENU = listOf(
            R.id.new_conversation to R.string.new_conversation,
            R.id.conversations to R.string.conversations,
            R.id.delete_conversation to R.string.delete_conversation,
            R.id.camera to R.string.camera,
            R.id.bundles to R.string.bundles,
            R.id.self_test to R.string.self_test,
            R.id.benchmark to R.string.benchmark,
        )
    }
}
