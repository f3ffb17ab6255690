package phantom.edge

import phantom.edge.bundle.PublicKey

/**
 * Settings of an open bundle; the defaults hold on a phone with 4 GB.
 *
 * @property threads Threads of ONNX Runtime: the large cores of most phones are four.
 * @property memory The device's memory, against which the bundle is held before it is loaded; null: no comparison. On
 * Android: `AndroidMemory(context)`.
 * @property memoryLimit Most bytes that the bundle may need, whatever the device has; null: no limit.
 * @property pictures Number of pictures whose image tokens are kept for the next question.
 * @property headroom Thermal headroom as `PowerManager.getThermalHeadroom` gives it: from 1.0 on the system throttles.
 * It is asked once a second at most; near 1.0 there are pauses between steps, so that the device never gets so hot. Null:
 * no pauses.
 * @property machine The device's name, for profiles. On Android: `androidMachine()`.
 * @property sensors The device's sensors, for profiles. On Android: `AndroidSensors(context)`.
 * @property key Public key of minisign, the text of `KEY.pub`: a bundle that is not signed with it is refused. Null: no
 * signature is looked at.
 */
public class Options(
    public val threads: Int = minOf(PHONE_THREADS, Runtime.getRuntime().availableProcessors()),
    public val memory: Memory? = null,
    public val memoryLimit: Long? = null,
    public val pictures: Int = PICTURES,
    public val headroom: (() -> Float)? = null,
    public val machine: Machine = Machine(),
    public val sensors: Sensors? = null,
    public val key: String? = null,
) {
    internal val publicKey: PublicKey? = key?.let(PublicKey::read)

    init {
        check(threads >= 0, "threads is $threads", "give 0 (ONNX Runtime chooses) or more")
        check(pictures >= 1, "pictures is $pictures", "give 1 or more")
        check(memoryLimit == null || memoryLimit > 0, "memoryLimit is $memoryLimit", "give bytes, or null")
    }

    private fun check(holds: Boolean, problem: String, remedy: String) {
        if (!holds) throw PhantomError.BadQuestion(problem, remedy)
    }

    private companion object {
        const val PHONE_THREADS = 4
        const val PICTURES = 4
    }
}

/** The memory of a device. */
public interface Memory {
    /** All of it, bytes. */
    public val total: Long

    /** Bytes that an app may take now, before the system begins to kill others. */
    public fun available(): Long
}

/**
 * A device, for profiles.
 *
 * @property kind `android`, or `host` for any other.
 */
public class Machine(
    public val kind: String = "host",
    public val name: String = "java",
    public val processor: String = System.getProperty("os.arch").orEmpty(),
    public val system: String = "${System.getProperty("os.name")} ${System.getProperty("os.version")}",
)

/** The state of a device; null where it has no such sensor. */
public class Sensed(
    public val megahertz: Double? = null,
    public val celsius: Double? = null,
    public val battery: Double? = null,
    public val watts: Double? = null,
    public val state: String = "",
)

/** Sensors of a device. */
public fun interface Sensors {
    /** Reads all of them. */
    public fun read(): Sensed
}
