package phantom.edge.profile

import java.io.File
import java.io.IOException

private const val CPUS = "/sys/devices/system/cpu"
private const val KILO = 1e3

/** Memory of this process, bytes, as Linux and Android count it; null elsewhere. */
internal fun residentBytes(): Long? = try {
    File("/proc/self/status").useLines { lines ->
        lines.find { it.startsWith("VmRSS:") }?.filter { it.isDigit() }?.toLong()?.times(1024)
    }
} catch (_: IOException) {
    null
}

/** The clocks of the CPUs, as Linux and Android count them. */
internal class Clocks {
    private val files = File(CPUS).list().orEmpty().filter { CPU.matches(it) }
        .map { File(CPUS, "$it/cpufreq/scaling_cur_freq") }

    /** Mean of those that run, MHz; null where none is counted. */
    fun megahertz(): Double? = files.mapNotNull { kilohertz(it) }.ifEmpty { null }?.let { it.average() / KILO }

    private fun kilohertz(file: File): Double? = try {
        file.readText().trim().toDoubleOrNull()
    } catch (_: IOException) {
        null
    }

    private companion object {
        val CPU = Regex("cpu\\d+")
    }
}
