package phantom.edge.app.profile

import android.app.Activity
import android.app.Application
import android.app.Instrumentation
import android.content.Context
import android.content.Intent
import android.os.Build
import android.os.Bundle
import kotlinx.coroutines.runBlocking
import org.json.JSONObject
import phantom.edge.Options
import phantom.edge.android.AndroidMemory
import phantom.edge.android.AndroidSensors
import phantom.edge.android.androidMachine
import phantom.edge.app.engineFault
import phantom.edge.profile.profileOnRequest
import java.io.File

/**
 * Measures a bundle for `phantom-edge profile --device android:SERIAL`, by the library's profile.
 *
 * ```
 * am instrument -w -e folder /data/local/tmp/BUNDLE -e wish JSON phantom.edge.app/.profile.Measurement
 * ```
 *
 * `am` prints every line as it is measured. Nothing of the app runs beside: no bundle of its own is opened.
 */
internal open class Measurement : Instrumentation() {
    private var arguments = Bundle()

    override fun newApplication(loader: ClassLoader?, name: String?, context: Context?): Application =
        super.newApplication(loader, Application::class.java.name, context)

    override fun onCreate(arguments: Bundle?) {
        super.onCreate(arguments)
        this.arguments = arguments ?: Bundle()
        start()
    }

    /** Runs on a thread of its own. */
    override fun onStart() {
        super.onStart()
        val screen = Intent(targetContext, MeasurementActivity::class.java).addFlags(Intent.FLAG_ACTIVITY_NEW_TASK)
        targetContext.startActivity(screen) // Android gives all cores to what is on the screen
        measure()
        finish(Activity.RESULT_OK, Bundle())
    }

    private fun measure() {
        engineFault(Build.SUPPORTED_ABIS.firstOrNull().orEmpty())?.let { fault ->
            val (problem, remedy) = fault.split('\n')
            print(JSONObject().put("error", problem).put("remedy", remedy).toString())
            return
        }
        val options = Options(
            memory = AndroidMemory(targetContext),
            machine = androidMachine(),
            sensors = AndroidSensors(targetContext),
        )
        val folder = File(arguments.getString("folder").orEmpty())
        runBlocking { profileOnRequest(folder, arguments.getString("wish").orEmpty(), options) { print(it) } }
    }

    private fun print(line: String) {
        sendStatus(0, Bundle().apply { putString(REPORT_KEY_STREAMRESULT, "$line\n") })
    }
}
