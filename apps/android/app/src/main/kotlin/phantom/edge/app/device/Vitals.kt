package phantom.edge.app.device

import android.app.ActivityManager
import android.content.Context
import android.os.Build
import android.os.Debug
import android.os.PowerManager

private const val API_THERMAL_STATUS = 29
private const val API_HEADROOM = 30
private const val FORECAST_SECONDS = 10
private const val MEGA = 1_000_000L

/**
 * Heat and memory now.
 *
 * @property status Thermal status of Android, 0 (none) to 6 (shutdown); null before Android 10.
 * @property nativeMegabytes Memory outside of Java's heap, where the weights are.
 */
internal class Vitals(val status: Int?, val nativeMegabytes: Long, val freeMegabytes: Long, val isLow: Boolean)

/**
 * The device's heat and memory.
 *
 * The app compiles against API 26, so that nothing newer is called unseen; the thermal functions are newer, and are
 * called by name.
 */
internal class Device(context: Context) {
    private val power = context.getSystemService(Context.POWER_SERVICE) as PowerManager
    private val activities = context.getSystemService(Context.ACTIVITY_SERVICE) as ActivityManager

    /** Thermal headroom: from 1.0 on the system throttles; not a number where the device does not say. */
    fun headroom(): Float {
        if (Build.VERSION.SDK_INT < API_HEADROOM) return Float.NaN
        val method = PowerManager::class.java.getMethod("getThermalHeadroom", Int::class.javaPrimitiveType)
        return method.invoke(power, FORECAST_SECONDS) as Float
    }

    /** Reads heat and memory. */
    fun vitals(): Vitals {
        val memory = ActivityManager.MemoryInfo().also(activities::getMemoryInfo)
        val status = if (Build.VERSION.SDK_INT < API_THERMAL_STATUS) {
            null
        } else {
            PowerManager::class.java.getMethod("getCurrentThermalStatus").invoke(power) as Int
        }
        val native = Debug.getNativeHeapAllocatedSize() / MEGA
        return Vitals(status, native, memory.availMem / MEGA, memory.lowMemory)
    }
}
