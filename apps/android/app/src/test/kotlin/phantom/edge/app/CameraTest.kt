package phantom.edge.app

import android.content.Context
import android.graphics.SurfaceTexture
import android.hardware.camera2.CameraCharacteristics
import android.hardware.camera2.CameraManager
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import org.robolectric.shadows.ShadowCameraCharacteristics
import phantom.edge.app.device.Camera

/** The camera's session with Robolectric's cameras, which give no frames. */
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [34])
internal class CameraTest {
    private val manager = app.getSystemService(Context.CAMERA_SERVICE) as CameraManager

    @Volatile
    private var faults = 0

    private fun camera() = Camera(app, 0, { _, _ -> error("a frame") }) { faults++ }

    private fun add(id: String, facing: Int) {
        val facts = ShadowCameraCharacteristics.newCameraCharacteristics()
        shadowOf(facts).set(CameraCharacteristics.LENS_FACING, facing)
        shadowOf(facts).set(CameraCharacteristics.SENSOR_ORIENTATION, 90)
        shadowOf(manager).addCamera(id, facts)
    }

    @Test
    fun `a device without a camera is no fault`() {
        assertFalse(camera().open(SurfaceTexture(0)))
        assertEquals(0, faults)
    }

    @Test
    fun `a camera that is taken away is said, and given back`() {
        add("0", CameraCharacteristics.LENS_FACING_FRONT)
        add("1", CameraCharacteristics.LENS_FACING_BACK)
        val camera = camera()
        assertTrue(camera.open(SurfaceTexture(0)))
        shadowOf(manager).triggerDisconnect() // another app takes it
        await("the fault") { faults == 1 }
        camera.close()
        camera.close() // twice is no fault
        idle()
        assertEquals(1, faults)
    }
}
