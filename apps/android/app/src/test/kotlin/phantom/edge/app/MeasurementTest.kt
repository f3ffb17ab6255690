package phantom.edge.app

import android.app.Activity
import android.app.Application
import android.content.Context
import android.os.Bundle
import android.widget.TextView
import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode
import phantom.edge.app.profile.Measurement
import phantom.edge.app.profile.MeasurementActivity

/** The measurement that `phantom-edge profile` starts by `am instrument`, without Android's process around it. */
@RunWith(RobolectricTestRunner::class)
@GraphicsMode(GraphicsMode.Mode.NATIVE)
@Config(sdk = [34], qualifiers = "w411dp-h800dp-xhdpi")
internal class MeasurementTest {
    private val text =
        """{"repeats": 1, "tokens": 2, "threads": 1, "depths": [16], "question": "Why?", "operators": true}"""

    /** What `am instrument -w` would print. */
    private class Watched : Measurement() {
        val printed = StringBuilder()
        val codes = ArrayList<Int>()

        override fun getTargetContext(): Context = app

        override fun start() = Unit

        override fun sendStatus(code: Int, results: Bundle) {
            printed.append(results.getString(REPORT_KEY_STREAMRESULT))
        }

        override fun finish(code: Int, results: Bundle) {
            codes.add(code)
        }
    }

    private fun printed(folder: String, wish: String): List<String> {
        val watched = Watched()
        watched.onCreate(
            Bundle().apply {
                putString("folder", folder)
                putString("wish", wish)
            },
        )
        watched.onStart()
        assertEquals(listOf(Activity.RESULT_OK), watched.codes)
        assertTrue(watched.printed.endsWith("\n"))
        return watched.printed.lines().filter { it.isNotEmpty() }
    }

    @Test
    fun `every measurement is printed as a line, while a screen stays on`() {
        awaitNano()
        val lines = printed(Golden.bundle("int4").path, text)
        val kinds = lines.map { JSONObject(it).keys().next() }.filter { it != "reading" }
        assertEquals(listOf("device", "subject", "steps", "stage", "stage", "stage", "stage", "depth"), kinds.take(8))
        assertEquals(listOf("operators", "end"), kinds.takeLast(2))
        val device = JSONObject(lines[0]).getJSONObject("device")
        assertEquals("android", device.getString("kind"))
        assertTrue(device.getDouble("bandwidth") > 0 && device.getDouble("products") > 0)
        assertEquals(MeasurementActivity::class.java.name, shadowOf(app).nextStartedActivity.component!!.className)
        val screen = start<MeasurementActivity>()
        val words = screen.views().filterIsInstance<TextView>().map { it.text.toString() }
        assertTrue("$words", words.any { "is measuring" in it })
        screen.picture("measurement")
    }

    @Test
    fun `an error is a line, too`() {
        awaitNano()
        val (line) = printed("/nowhere", text)
        assertTrue(line, line.startsWith("{\"error\": \"") && "there is no folder /nowhere" in line)
        assertTrue("the wish cannot be read" in printed(Golden.bundle("int4").path, "no wish").single())
    }

    @Test
    fun `nothing of the app runs beside it`() {
        val made = Watched().newApplication(javaClass.classLoader, PhantomApp::class.java.name, app)
        assertEquals(Application::class.java, made.javaClass)
    }
}
