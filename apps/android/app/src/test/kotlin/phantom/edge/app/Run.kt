package phantom.edge.app

import android.app.Activity
import android.app.ActivityManager
import android.content.ContentResolver
import android.content.Context
import android.content.Intent
import android.graphics.Bitmap
import android.graphics.Canvas
import android.net.Uri
import android.os.Looper
import android.view.View
import android.view.ViewGroup
import android.widget.Button
import android.widget.ListView
import android.widget.TextView
import kotlinx.coroutines.runBlocking
import org.robolectric.Robolectric
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.android.controller.ActivityController
import phantom.edge.app.screens.ConversationActivity
import phantom.edge.app.talk.Model
import java.io.ByteArrayInputStream
import java.io.File

private const val PATIENCE_NANOS = 60_000_000_000

/** The app that Robolectric started. */
internal val app: PhantomApp get() = RuntimeEnvironment.getApplication() as PhantomApp

internal fun idle() = shadowOf(Looper.getMainLooper()).idle()

/** Runs the main thread until [isThere]. */
internal fun await(what: String, isThere: () -> Boolean) {
    val end = System.nanoTime() + PATIENCE_NANOS
    while (!isThere()) {
        check(System.nanoTime() < end) { "it never came: $what" }
        idle()
        Thread.sleep(2)
    }
    idle()
}

/**
 * Waits until the bundle inside the app is open.
 *
 * Robolectric's device begins without memory, so the app first refuses it; then the device gets 4 GB.
 */
internal fun awaitNano() {
    await("the refusal") { app.assistant.model.value is Model.Faulty }
    val words = (app.assistant.model.value as Model.Faulty).words
    check("MB at least, and there are 0 MB" in words) { words }
    val memory = ActivityManager.MemoryInfo()
    memory.totalMem = 4_000_000_000
    memory.availMem = 2_000_000_000
    shadowOf(app.getSystemService(Context.ACTIVITY_SERVICE) as ActivityManager).setMemoryInfo(memory)
    runBlocking { app.use("nano") }
    check(app.assistant.model.value is Model.Ready) { "${app.assistant.model.value}" }
}

/** A started screen. */
internal inline fun <reified A : Activity> start(intent: Intent? = null): ActivityController<A> =
    Robolectric.buildActivity(A::class.java, intent).setup().also { idle() }

/** The conversation's screen, to which another app shares a picture of the conformance data. */
internal fun share(picture: String): ActivityController<ConversationActivity> {
    val uri = Uri.parse("content://photos/$picture")
    val resolver: ContentResolver = app.contentResolver
    shadowOf(resolver).registerInputStreamSupplier(uri) { ByteArrayInputStream(Golden.picture(picture)) }
    return start(Intent(Intent.ACTION_SEND).setType("image/png").putExtra(Intent.EXTRA_STREAM, uri))
}

internal fun ActivityController<*>.words(id: Int): String = get().findViewById<TextView>(id).text.toString()

internal fun ActivityController<*>.write(id: Int, words: String) = get().findViewById<TextView>(id).setText(words)

internal fun ActivityController<*>.click(id: Int) {
    get().findViewById<Button>(id).performClick()
    idle()
}

internal fun ActivityController<ConversationActivity>.ask(question: String) {
    write(R.id.question, question)
    click(R.id.ask)
}

internal fun ActivityController<*>.views(): List<View> = all(get().window.decorView)

private fun all(view: View): List<View> =
    listOf(view) + if (view is ViewGroup) (0 until view.childCount).flatMap { all(view.getChildAt(it)) } else listOf()

/** Texts of a list's rows. */
internal fun ActivityController<*>.rows(id: Int): List<String> {
    val list = get().findViewById<ListView>(id)
    val views = List(list.adapter.count) { list.adapter.getView(it, null, list) }
    return views.flatMap(::all).filterIsInstance<TextView>().map { it.text.toString() }
}

/** Draws the screen into target/screenshots, for people to look at; returns its pixels. */
internal fun ActivityController<*>.picture(name: String): Bitmap {
    idle()
    val view = get().window.decorView
    val bitmap = Bitmap.createBitmap(view.width, view.height, Bitmap.Config.ARGB_8888)
    view.draw(Canvas(bitmap))
    val file = File("target/screenshots/$name.png")
    file.parentFile!!.mkdirs()
    file.outputStream().use { bitmap.compress(Bitmap.CompressFormat.PNG, 100, it) }
    return bitmap
}

/** Chooses an item of the screen's menu. */
internal fun ActivityController<*>.choose(id: Int) {
    shadowOf(get()).clickMenuItem(id)
    idle()
}
