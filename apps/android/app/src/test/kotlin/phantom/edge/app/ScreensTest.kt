package phantom.edge.app

import android.Manifest
import android.app.Activity
import android.content.Context
import android.content.Intent
import android.graphics.Bitmap
import android.graphics.Canvas
import android.graphics.Color
import android.graphics.Paint
import android.media.ExifInterface
import android.net.Uri
import android.os.PowerManager
import android.view.View
import android.widget.AdapterView
import android.widget.EditText
import android.widget.ImageView
import android.widget.LinearLayout
import android.widget.TextView
import kotlinx.coroutines.runBlocking
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNotNull
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.android.controller.ActivityController
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode
import phantom.edge.PhantomError
import phantom.edge.Picture
import phantom.edge.android.of
import phantom.edge.app.bundles.Arrival
import phantom.edge.app.device.readPhoto
import phantom.edge.app.screens.BenchmarkActivity
import phantom.edge.app.screens.BundlesActivity
import phantom.edge.app.screens.CameraActivity
import phantom.edge.app.screens.ConversationActivity
import phantom.edge.app.screens.SelfTestActivity
import phantom.edge.profile.Wish
import java.io.ByteArrayInputStream
import java.io.File

/** The other screens, with the model inside the app; each leaves a picture in target/screenshots. */
@RunWith(RobolectricTestRunner::class)
@GraphicsMode(GraphicsMode.Mode.NATIVE)
@Config(sdk = [34], qualifiers = "w411dp-h800dp-xhdpi")
internal class ScreensTest {
    private val short = Golden.asked("fp16").first { it.isPlain }

    private fun texts(screen: ActivityController<*>) =
        screen.views().filterIsInstance<TextView>().map { it.text.toString() }

    @Test
    fun `the camera's frames are answered, and dropped while it answers`() {
        awaitNano()
        shadowOf(app).grantPermissions(Manifest.permission.CAMERA)
        val screen = start<CameraActivity>()
        screen.write(R.id.question, short.question)
        val frame = Golden.decoded(short.picture)
        screen.get().frame { frame }
        screen.get().frame { error("a frame that is dropped is not read") }
        await("an answer") { screen.words(R.id.answer) == short.answer && "answered: 1" in screen.words(R.id.counts) }
        assertTrue(screen.words(R.id.counts), "dropped: 1" in screen.words(R.id.counts))
        screen.picture("camera")
        screen.get().frame { frame }
        await("the next answer") { "answered: 2" in screen.words(R.id.counts) }
        checkTalkBack(screen)
    }

    @Test
    fun `a camera that is not allowed is said`() {
        awaitNano()
        val screen = start<CameraActivity>()
        val asked = shadowOf(screen.get()).lastRequestedPermission.requestedPermissions
        assertEquals(listOf(Manifest.permission.CAMERA), asked.toList())
        screen.get().onRequestPermissionsResult(1, arrayOf(Manifest.permission.CAMERA), intArrayOf(-1))
        assertTrue(screen.words(R.id.answer), "Allow it" in screen.words(R.id.answer))
    }

    @Test
    fun `the self-test shows every comparison, and a failed one first`() {
        awaitNano()
        val screen = start<SelfTestActivity>()
        await("the proof") { screen.words(R.id.proof).isNotEmpty() }
        val proof = runBlocking { app.assistant.phantom().proof()!! }
        assertEquals(
            "Export: proved by ${proof.checks.size} comparisons with the checkpoint ${proof.model} " +
                "(${proof.fingerprint.take(12)}); all ${proof.checks.count { it.bound != null }} bounds are kept",
            screen.words(R.id.proof),
        )
        screen.picture("proof")
        screen.click(R.id.start)
        await("the result") { app.examination.state.value.report != null }
        await("words") { "all" in screen.words(R.id.status) }
        assertEquals(
            "Passed: all ${app.examination.state.value.report!!.findings.size} comparisons agree",
            screen.words(R.id.status),
        )
        val rows = screen.rows(R.id.rows)
        assertTrue("$rows", rows.any { it.startsWith("passed:") && "expected within" in it && "found" in it })
        val exported = rows.filter { it.startsWith("export, passed: ") }
        val cases = proof.checks.map { it.stage to it.case }.distinct()
        assertEquals(cases.map { (stage, case) -> "export, passed: $stage of $case" }, exported.map { it.lines()[0] })
        assertTrue("$exported", exported.all { "relative error" in it && ", bound " in it })
        screen.picture("self_test")
        checkTalkBack(screen)
    }

    @Test
    fun `the benchmark shows all stages, and shares its lines`() {
        awaitNano()
        app.benchmark.wish = Wish(repeats = 1, tokens = 4, depths = listOf(16), operators = false)
        val screen = start<BenchmarkActivity>()
        screen.click(R.id.start)
        assertEquals("Measuring", screen.words(R.id.status))
        await("the end") { !app.benchmark.state.value.isRunning && screen.words(R.id.status) == "Measured" }
        val names = app.benchmark.state.value.rows.map { it.first }
        assertTrue("$names", names.containsAll(listOf("device", "load", "vision", "prefill", "decode", "answer")))
        assertEquals(app.benchmark.state.value.rows.size, screen.get().findViewById<LinearLayout>(R.id.rows).childCount)
        screen.picture("benchmark")
        checkTalkBack(screen)
        screen.click(R.id.share)
        val shared = shadowOf(screen.get()).nextStartedActivity.getParcelableExtra<Intent>(Intent.EXTRA_INTENT)!!
        assertEquals("""{"end": 1}""", shared.getStringExtra(Intent.EXTRA_TEXT)!!.lines().last())
    }

    @Test
    fun `a bundle is imported from a zip, and a wrong address is refused`() {
        awaitNano()
        val screen = start<BundlesActivity>()
        val zip = zipOf(Golden.bundle("int4"), File.createTempFile("bundle", ".zip")).readBytes()
        val uri = Uri.parse("content://files/mine.zip")
        shadowOf(app.contentResolver).registerInputStreamSupplier(uri) { ByteArrayInputStream(zip) }
        val import = screen.views().filterIsInstance<TextView>().first { it.text == "Import a zip" }
        import.performClick()
        val request = shadowOf(screen.get()).nextStartedActivityForResult
        shadowOf(screen.get()).receiveResult(request.intent, Activity.RESULT_OK, Intent().setData(uri))
        await("the bundle") { app.delivery.state.value !is Arrival.Loading }
        assertEquals(Arrival.Arrived("mine"), app.delivery.state.value)
        await("its row") { "mine (in use)" in texts(screen) && "nano" in texts(screen) }
        screen.write(R.id.address, "http://example.com/nano.zip")
        screen.click(R.id.download)
        assertTrue(screen.words(R.id.counts), "begins with https://" in screen.words(R.id.counts))
        screen.picture("bundles")
        checkTalkBack(screen)
        screen.views().first { it.contentDescription == "Use the bundle nano" }.performClick()
        await("nano") { "nano (in use)" in texts(screen) }
    }

    @Test
    fun `a bundle is downloaded over a connection that breaks, and is in use`() {
        awaitNano()
        val zip = zipOf(Golden.bundle("int4"), File.createTempFile("bundle", ".zip"), "nano-onnx/").readBytes()
        BreakingServer(zip).use { server ->
            server.breaks.addAll(listOf(1_000_000))
            app.delivery.download(server.address, "0".repeat(64))
            await("the refusal") { app.delivery.state.value is Arrival.Failed }
            server.breaks.addAll(listOf(1_000_000))
            server.ranges.clear()
            app.delivery.download(server.address, server.digest)
            await("the bundle") { app.delivery.state.value is Arrival.Arrived }
            assertEquals(2, server.ranges.size)
        }
        assertEquals("nano", app.bundles.chosen) // the zip's name: it replaced the one inside the app
        assertTrue("int4" in File(app.bundles.path("nano"), "phantom.json").readText())
        assertTrue(File(app.filesDir, "downloads").list()!!.isEmpty())
    }

    @Test
    fun `heat is shown, and an app without an engine says so on its first screen`() {
        awaitNano()
        shadowOf(app.getSystemService(Context.POWER_SERVICE) as PowerManager).setCurrentThermalStatus(3)
        val screen = start<ConversationActivity>()
        assertTrue(
            screen.words(R.id.vitals),
            screen.words(R.id.vitals).startsWith("very hot: answers are slowed, memory"),
        )
        app.assistant.refuse(engineFault("arm64-v8a") { throw UnsatisfiedLinkError("no onnxruntime") }!!)
        idle()
        assertTrue(screen.words(R.id.status), "built without ONNX Runtime for arm64-v8a" in screen.words(R.id.status))
        screen.ask("Why?")
        await("the refusal") { "built without" in screen.words(R.id.status) && screen.words(R.id.question) == "Why?" }
        assertEquals(0, app.store.all().size)
    }

    @Test
    fun `a photo of many pixels is read smaller and upright`() {
        val bitmap = Bitmap.createBitmap(6000, 3000, Bitmap.Config.ARGB_8888)
        Canvas(bitmap).drawRect(0f, 0f, 600f, 300f, Paint().apply { color = Color.RED })
        val file = File.createTempFile("photo", ".jpg")
        file.outputStream().use { bitmap.compress(Bitmap.CompressFormat.JPEG, 90, it) }
        val plain = readPhoto(file.readBytes())
        assertEquals(3000 to 1500, plain.width to plain.height)
        val exif = ExifInterface(file.path)
        exif.setAttribute(ExifInterface.TAG_ORIENTATION, "6")
        exif.saveAttributes()
        val turned = readPhoto(file.readBytes())
        assertEquals(1500 to 3000, turned.width to turned.height)
        assertThrows(PhantomError.BadPicture::class.java) { readPhoto("no picture".toByteArray()) }
        val small = Golden.picture(short.picture)
        assertEquals(Picture.of(small).width, readPhoto(small).width)
    }

    @Test
    @Config(qualifiers = "+night")
    fun `dark, and in large letters`() {
        RuntimeEnvironment.setFontScale(2f)
        awaitNano()
        val screen = share(short.picture)
        screen.ask(short.question)
        await("the answer") { short.answer in screen.rows(R.id.turns) }
        val dark = screen.picture("conversation_dark_large")
        assertTrue("the background is light", brightness(dark) < 0.4)
        checkTalkBack(screen)
        for (view in screen.views().filter { it.isShown && it is TextView }) {
            assertTrue("$view is cut", view.width > 0 && view.height >= (view as TextView).lineHeight)
        }
        start<SelfTestActivity>().picture("self_test_dark_large")
        start<BundlesActivity>().picture("bundles_dark_large")
    }

    @Test
    @Config(qualifiers = "w800dp-h411dp-land-xhdpi")
    fun `on its side`() {
        awaitNano()
        val screen = share(short.picture)
        screen.ask(short.question)
        await("the answer") { short.answer in screen.rows(R.id.turns) }
        assertTrue(brightness(screen.picture("conversation_land")) > 0.6)
        assertTrue(screen.get().findViewById<View>(R.id.ask).isShown)
    }

    @Test
    fun `every entry of the menu opens its screen`() {
        awaitNano()
        val screen = start<ConversationActivity>()
        val wanted = mapOf(
            R.id.camera to CameraActivity::class,
            R.id.bundles to BundlesActivity::class,
            R.id.self_test to SelfTestActivity::class,
            R.id.benchmark to BenchmarkActivity::class,
        )
        for ((id, kind) in wanted) {
            screen.choose(id)
            assertEquals(kind.java.name, shadowOf(screen.get()).nextStartedActivity.component!!.className)
        }
    }

    /** Every view that can be touched has words and the height of a finger; every picture has a description. */
    private fun checkTalkBack(screen: ActivityController<*>) {
        val shown = screen.views().filter { it.isShown }
        val least = (48 * screen.get().resources.displayMetrics.density).toInt()
        val own = shown.filter {
            it.isClickable && it !is AdapterView<*> && it.id != View.NO_ID &&
                "phantom.edge.app" in nameOf(it)
        }
        assertTrue(own.isNotEmpty())
        for (view in own) {
            val words = view.contentDescription ?: (view as? EditText)?.hint ?: (view as? TextView)?.text
            assertTrue("$view has no words", !words.isNullOrBlank())
            assertTrue("$view is ${view.height} of $least high", view.height >= least)
        }
        for (view in shown.filterIsInstance<ImageView>().filter {
            it.drawable != null && it.isImportantForAccessibility
        }) {
            assertNotNull(
                "$view has no description",
                view.contentDescription ?: (view.parent as View).contentDescription,
            )
        }
    }

    private fun nameOf(view: View) = view.resources.getResourceName(view.id)

    private fun brightness(bitmap: Bitmap): Double {
        val small = Bitmap.createScaledBitmap(bitmap, 40, 40, true)
        val pixels = IntArray(1600).also { small.getPixels(it, 0, 40, 0, 0, 40, 40) }
        return pixels.map { (it shr 8 and 255) / 255.0 }.average()
    }
}
