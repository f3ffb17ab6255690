package phantom.edge.app.device

import android.annotation.SuppressLint
import android.content.Context
import android.graphics.ImageFormat
import android.graphics.SurfaceTexture
import android.hardware.camera2.CameraAccessException
import android.hardware.camera2.CameraCaptureSession
import android.hardware.camera2.CameraCharacteristics
import android.hardware.camera2.CameraDevice
import android.hardware.camera2.CameraManager
import android.media.Image
import android.media.ImageReader
import android.os.Handler
import android.os.HandlerThread
import android.view.Surface

private const val WIDTH = 640
private const val HEIGHT = 480
private const val IMAGES = 2

/**
 * The back camera, or any other where there is none; its picture goes to a view, and its frames to [onFrame].
 *
 * @property onFrame Takes a frame of `YUV_420_888` and the degrees, clockwise, that make it upright. It is closed
 * afterwards, and a newer one replaces those that came meanwhile.
 * @property onFault Called where the camera cannot be opened, or is taken away.
 */
internal class Camera(
    context: Context,
    private val displayDegrees: Int,
    private val onFrame: (Image, Int) -> Unit,
    private val onFault: () -> Unit,
) {
    private val manager = context.getSystemService(Context.CAMERA_SERVICE) as CameraManager
    private var thread: HandlerThread? = null
    private var device: CameraDevice? = null
    private var reader: ImageReader? = null
    private var isClosed = false

    /** Opens the camera; the permission was given. False where there is none. */
    @SuppressLint("MissingPermission")
    fun open(view: SurfaceTexture): Boolean {
        try {
            val id = manager.cameraIdList.let { all -> all.find(::isBack) ?: all.firstOrNull() } ?: return false
            val degrees = uprightDegrees(id)
            val handler = handler()
            view.setDefaultBufferSize(WIDTH, HEIGHT)
            val frames = ImageReader.newInstance(WIDTH, HEIGHT, ImageFormat.YUV_420_888, IMAGES)
            reader = frames
            frames.setOnImageAvailableListener({
                it.acquireLatestImage()?.use { image -> onFrame(image, degrees) }
            }, handler)
            manager.openCamera(id, Opened(listOf(Surface(view), frames.surface), handler), handler)
            return true
        } catch (_: CameraAccessException) {
            close()
            return false
        } catch (_: SecurityException) {
            close()
            return false
        }
    }

    private fun handler(): Handler {
        val started = HandlerThread("camera").apply { start() }
        thread = started
        return Handler(started.looper)
    }

    private fun isBack(id: String) = facing(id) == CameraCharacteristics.LENS_FACING_BACK

    private fun facing(id: String) = manager.getCameraCharacteristics(id)[CameraCharacteristics.LENS_FACING]

    private fun uprightDegrees(id: String): Int {
        val sensor = manager.getCameraCharacteristics(id)[CameraCharacteristics.SENSOR_ORIENTATION] ?: 0
        return uprightDegrees(sensor, displayDegrees, isBack(id))
    }

    private inner class Opened(private val surfaces: List<Surface>, private val handler: Handler) :
        CameraDevice.StateCallback() {
        override fun onOpened(camera: CameraDevice) {
            synchronized(this@Camera) {
                if (isClosed) return camera.close()
                device = camera
            }
            try {
                @Suppress("DEPRECATION") // its successor is newer than API 26
                camera.createCaptureSession(surfaces, Configured(camera), handler)
            } catch (_: CameraAccessException) {
                onFault()
            }
        }

        override fun onDisconnected(camera: CameraDevice) {
            camera.close()
            onFault()
        }

        override fun onError(camera: CameraDevice, error: Int) {
            camera.close()
            onFault()
        }

        private inner class Configured(private val camera: CameraDevice) : CameraCaptureSession.StateCallback() {
            override fun onConfigured(session: CameraCaptureSession) {
                try {
                    val request = camera.createCaptureRequest(CameraDevice.TEMPLATE_PREVIEW)
                    surfaces.forEach { request.addTarget(it) }
                    session.setRepeatingRequest(request.build(), null, handler)
                } catch (_: CameraAccessException) {
                    onFault()
                } catch (_: IllegalStateException) { // it was closed meanwhile
                    return
                }
            }

            override fun onConfigureFailed(session: CameraCaptureSession) = onFault()
        }
    }

    /** Gives the camera back. */
    fun close() {
        synchronized(this) {
            isClosed = true
            device?.close()
        }
        reader?.close()
        thread?.quitSafely()
    }
}

/** Degrees, clockwise, that make a sensor's picture upright on a display that is turned by [display] degrees. */
internal fun uprightDegrees(sensor: Int, display: Int, isBack: Boolean): Int =
    Math.floorMod(if (isBack) sensor - display else sensor + display, 360)
