package phantom.edge.android

import android.app.ActivityManager
import android.content.Context
import android.content.Intent
import android.content.IntentFilter
import android.os.BatteryManager
import android.os.Build
import phantom.edge.Machine
import phantom.edge.Memory
import phantom.edge.Sensed
import phantom.edge.Sensors

/** The memory of this device, by `ActivityManager.MemoryInfo`: what is free above the threshold of low memory. */
public class AndroidMemory(context: Context) : Memory {
    private val manager = context.getSystemService(Context.ACTIVITY_SERVICE) as ActivityManager

    private fun info() = ActivityManager.MemoryInfo().also(manager::getMemoryInfo)

    override val total: Long get() = info().totalMem

    override fun available(): Long = info().let { maxOf(it.availMem - it.threshold, 0) }
}

/** Battery and its temperature; no permission is needed. */
public class AndroidSensors(private val context: Context) : Sensors {
    override fun read(): Sensed {
        val battery: Intent? = context.registerReceiver(null, IntentFilter(Intent.ACTION_BATTERY_CHANGED))
        val level = battery?.getIntExtra(BatteryManager.EXTRA_LEVEL, -1) ?: -1
        val scale = battery?.getIntExtra(BatteryManager.EXTRA_SCALE, -1) ?: -1
        val tenths = battery?.getIntExtra(BatteryManager.EXTRA_TEMPERATURE, 0) ?: 0
        val plugged = battery?.getIntExtra(BatteryManager.EXTRA_PLUGGED, 0) ?: 0
        return Sensed(
            celsius = if (tenths > 0) tenths / 10.0 else null,
            battery = if (level >= 0 && scale > 0) 100.0 * level / scale else null,
            state = if (plugged == 0) "on battery" else "charging",
        )
    }
}

/** This device, for profiles. */
public fun androidMachine(): Machine = Machine(
    kind = "android",
    name = "${Build.MANUFACTURER} ${Build.MODEL}",
    processor = "${Build.HARDWARE} (${Build.SUPPORTED_ABIS.firstOrNull().orEmpty()})",
    system = "Android ${Build.VERSION.RELEASE} (API ${Build.VERSION.SDK_INT})",
)
