package phantom.edge.app

import ai.onnxruntime.OrtEnvironment
import android.app.Application
import android.os.Build
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.NonCancellable
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.cancel
import kotlinx.coroutines.launch
import kotlinx.coroutines.withContext
import phantom.edge.Options
import phantom.edge.Phantom
import phantom.edge.android.AndroidMemory
import phantom.edge.android.AndroidSensors
import phantom.edge.android.androidMachine
import phantom.edge.app.bundles.Bundles
import phantom.edge.app.bundles.Delivery
import phantom.edge.app.bundles.ZipSource
import phantom.edge.app.device.Device
import phantom.edge.app.device.readPhoto
import phantom.edge.app.store.Conversations
import phantom.edge.app.store.PictureFiles
import phantom.edge.app.talk.Assistant
import phantom.edge.app.talk.Benchmark
import phantom.edge.app.talk.Examination
import java.io.File

private const val NANO = "nano"
private const val NANO_ASSET = "nano.zip"

/** The process: what outlives screens. */
internal class PhantomApp : Application() {
    /** Work that no screen ends. */
    val scope = CoroutineScope(SupervisorJob() + Dispatchers.Default)
    val device by lazy { Device(this) }
    val store by lazy { Conversations(this) }
    val pictures by lazy { PictureFiles(File(filesDir, "pictures")) }
    val bundles by lazy { Bundles(File(filesDir, "bundles")) }
    val assistant by lazy { Assistant(store, pictures, ::readPhoto, scope, opener = ::open) }
    val benchmark by lazy { Benchmark(scope) }
    val examination by lazy { Examination(scope) }
    val delivery by lazy {
        Delivery(bundles, File(filesDir, "downloads"), scope, { prove(it) }) { name -> use(name) }
    }

    override fun onCreate() {
        super.onCreate()
        store.recover()
        scope.launch(Dispatchers.IO) { prepare() }
    }

    override fun onTerminate() {
        scope.cancel()
        store.close()
        super.onTerminate()
    }

    /** Opens the bundle of a name, and keeps the choice. */
    suspend fun use(name: String) {
        bundles.chosen = name
        assistant.open(bundles.path(name))
    }

    /** Opens the chosen bundle; at the first start, the small one inside the app. */
    private suspend fun prepare() {
        engineFault(Build.SUPPORTED_ABIS.firstOrNull().orEmpty())?.let {
            assistant.refuse(it)
            return
        }
        bundles.sweep()
        val inside = assets.list("").orEmpty()
        if (bundles.chosen == null && NANO_ASSET !in inside) {
            assistant.refuse("this app has no bundle inside\nimport or download one under Bundles")
            return
        }
        try {
            val name = bundles.chosen ?: bundles.install(NANO, ZipSource { assets.open(NANO_ASSET) }) {}
            use(name)
        } catch (error: Refusal) {
            assistant.refuse("${error.problem}\n${error.remedy}")
        }
    }

    /** Opens a bundle once; the one in use is closed before, since two may not fit into the memory. */
    private suspend fun prove(folder: File) {
        assistant.close()
        var isGood = false
        try {
            open(folder) { _, _ -> }.close()
            isGood = true
        } finally {
            if (!isGood) withContext(NonCancellable) { bundles.chosen?.let { use(it) } }
        }
    }

    private suspend fun open(folder: File, progress: (Long, Long) -> Unit): Phantom {
        val options = Options(
            memory = AndroidMemory(this),
            headroom = device::headroom,
            machine = androidMachine(),
            sensors = AndroidSensors(this),
        )
        return Phantom.open(folder, options, progress)
    }
}

/** Why ONNX Runtime is not there, in two lines; null where it is. An app may be built without its native libraries. */
internal fun engineFault(
    abi: String,
    load: () -> Unit = { OrtEnvironment.getEnvironment().setTelemetry(false) },
): String? {
    val isThere = try {
        load()
        true
    } catch (_: LinkageError) {
        false
    } catch (_: RuntimeException) { // ONNX Runtime's own word for a library that does not load
        false
    }
    if (isThere) return null
    return "this app was built without ONNX Runtime for $abi, so it cannot answer\n" +
        "build it again with its library: python scripts/apk.py --aar onnxruntime-android.aar"
}
