package phantom.edge.app

import android.widget.ImageView
import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Runnable
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.runBlocking
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode
import phantom.edge.Options
import phantom.edge.Phantom
import phantom.edge.Picture
import phantom.edge.android.of
import phantom.edge.app.screens.ConversationActivity
import phantom.edge.app.store.Conversations
import phantom.edge.app.store.Progress
import phantom.edge.app.store.Turn
import phantom.edge.app.talk.Assistant
import phantom.edge.app.talk.Model
import java.util.concurrent.Executors
import kotlin.coroutines.CoroutineContext

/** Conversations with the model inside the app, whose answers are those of the Python package. */
@RunWith(RobolectricTestRunner::class)
@GraphicsMode(GraphicsMode.Mode.NATIVE)
@Config(sdk = [34], qualifiers = "w411dp-h800dp-xhdpi")
internal class ConversationTest {
    private val long = Golden.longest("fp16")
    private val endless = Golden.asked("fp16").first { it.isEndless }
    private val short = Golden.asked("fp16").first { it.isPlain }

    private fun turns(conversation: Long = app.store.all().first().id): List<Turn> = app.store.turns(conversation)

    private fun awaitAnswer(progress: Progress = Progress.DONE) = await("an answer") {
        app.assistant.running.value == null && app.store.all().isNotEmpty() && turns().last().progress == progress
    }

    @Test
    fun `the first start, a shared picture and two questions`() {
        awaitNano()
        val screen = share(short.picture)
        assertEquals("nano is ready", screen.words(R.id.status))
        screen.ask(short.question)
        awaitAnswer()
        assertEquals(short.answer, turns().single().answer)
        await("both on the screen") { screen.rows(R.id.turns).containsAll(listOf(short.question, short.answer)) }
        assertEquals("", screen.words(R.id.question))
        screen.ask("What shape is it?") // without a picture: the one before is still meant
        await("a second answer") { turns().size == 2 && turns()[1].progress == Progress.DONE }
        assertEquals(listOf(true, false), turns().map { it.picture != null })
        screen.picture("conversation")
        val pictures = screen.views().filterIsInstance<ImageView>().filter { it.isShown }
        assertTrue(pictures.isNotEmpty() && pictures.all { it.contentDescription != null })
    }

    @Test
    fun `an answer is stopped, and the next one works`() {
        awaitNano()
        val screen = share(endless.picture)
        screen.ask(endless.question)
        await("the first piece") { app.assistant.running.value?.answer?.isNotEmpty() == true }
        screen.click(R.id.ask) // now it stops
        awaitAnswer(Progress.STOPPED)
        val stopped = turns().single().answer
        val shorter = minOf(stopped.length, endless.answer.length)
        assertEquals(endless.answer.take(shorter), stopped.take(shorter))
        assertTrue(stopped, stopped.isNotEmpty() && turns().single().tokens < 256)
        screen.ask("Why?")
        await("an answer") { turns().size == 2 && turns()[1].progress == Progress.DONE }
    }

    @Test
    fun `what cannot be asked is said, and nothing is kept`() {
        awaitNano()
        val screen = start<ConversationActivity>()
        screen.click(R.id.ask)
        await("words") { "the question is empty" in screen.words(R.id.status) }
        assertEquals(0, app.store.all().size)
        screen.ask("a <IMG_CONTEXT> b")
        awaitAnswer(Progress.FAILED)
        assertTrue(turns().single().answer, "reserved" in turns().single().answer)
    }

    @Test
    fun `rotation keeps the draft, the chosen picture and the running answer`() {
        awaitNano()
        val first = share(long.picture)
        first.ask(long.question)
        first.write(R.id.question, "a draft")
        val second = first.recreate()
        idle()
        assertEquals("a draft", second.words(R.id.question))
        awaitAnswer()
        assertEquals(long.answer, turns().single().answer)
        await("the answer on the screen") { long.answer in second.rows(R.id.turns) }
        val third = share(short.picture)
        assertTrue(third.get().findViewById<ImageView>(R.id.pending).isShown)
        assertTrue(third.recreate().get().findViewById<ImageView>(R.id.pending).isShown)
    }

    /** Runs no more once [isDead]: what a process leaves that is killed. */
    private class Mortal(private val isDead: () -> Boolean) : CoroutineDispatcher() {
        private val thread = Executors.newSingleThreadExecutor { Thread(it).apply { isDaemon = true } }

        override fun dispatch(context: CoroutineContext, block: Runnable) {
            thread.execute { if (!isDead()) block.run() }
        }
    }

    @Test
    fun `the end of the process in the middle of an answer keeps the conversation`() {
        awaitNano()
        lateinit var dying: Assistant
        val mortal = Mortal { dying.running.value?.answer?.isNotEmpty() == true }
        val scope = CoroutineScope(SupervisorJob())
        dying = Assistant(app.store, app.pictures, { Picture.of(it) }, scope, mortal) { folder, progress ->
            Phantom.open(folder, Options(threads = 1), progress)
        }
        val conversation = runBlocking {
            dying.open(app.bundles.path("nano"))
            assertTrue(dying.model.value is Model.Ready)
            val picture = app.pictures.keep(Golden.picture(long.picture))
            dying.ask(null, long.question, picture)
        }
        await("death") { dying.running.value?.answer?.isNotEmpty() == true }
        assertEquals(Progress.RUNNING, turns(conversation).single().progress)

        val next = Conversations(app)
        next.recover() // as the next process does when it begins
        next.close()
        val turn = turns(conversation).single()
        assertEquals(Progress.INTERRUPTED, turn.progress)
        assertTrue(turn.answer, turn.answer.isNotEmpty() && long.answer.startsWith(turn.answer))
        app.getSharedPreferences("screens.ConversationActivity", 0).edit().putLong("conversation", conversation).apply()
        val screen = start<ConversationActivity>()
        await("the conversation") { screen.rows(R.id.turns).any { "the app ended" in it } }
        screen.picture("interrupted")
        screen.ask("Why?")
        await("the next answer") { turns(conversation).last().progress == Progress.DONE }
        assertEquals(2, turns(conversation).size)
    }

    @Test
    fun `a damaged bundle is said, and a removed conversation takes its picture along`() {
        awaitNano()
        val screen = share(short.picture)
        screen.ask(short.question)
        awaitAnswer()
        val picture = app.pictures.file(turns().single().picture!!)
        assertTrue(picture.isFile)
        screen.choose(R.id.delete_conversation)
        await("removal") { app.store.all().isEmpty() && !picture.exists() }
        app.bundles.path("nano").resolve("decoder.data").appendBytes(byteArrayOf(0))
        runBlocking { app.use("nano") }
        idle()
        assertTrue(screen.words(R.id.status), "bytes, its manifest lists" in screen.words(R.id.status))
        screen.ask("Why?")
        await("words") { "bytes, its manifest lists" in screen.words(R.id.status) }
        assertThrows(Refusal::class.java) { app.assistant.phantom() }
    }
}
