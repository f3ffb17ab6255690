package phantom.edge.app.screens

import android.Manifest
import android.content.pm.PackageManager
import android.graphics.Matrix
import android.graphics.SurfaceTexture
import android.media.Image
import android.os.Bundle
import android.text.Editable
import android.text.TextWatcher
import android.view.Gravity
import android.view.Surface
import android.view.TextureView
import android.widget.EditText
import android.widget.FrameLayout
import android.widget.TextView
import phantom.edge.Picture
import phantom.edge.android.of
import phantom.edge.app.R
import phantom.edge.app.device.Camera
import phantom.edge.app.talk.LiveAnswer
import phantom.edge.app.talk.LiveView
import phantom.edge.app.talk.Model

private const val ASK_CAMERA = 1
private const val OVERLAY = 0xB0000000.toInt()
private const val OVERLAY_TEXT = -1

/** A standing question about what the camera sees; the answer lies over the picture. */
internal class CameraActivity :
    Screen(),
    TextureView.SurfaceTextureListener {
    private lateinit var status: TextView
    private lateinit var vitals: TextView
    private lateinit var preview: TextureView
    private lateinit var answer: TextView
    private lateinit var counts: TextView
    private lateinit var question: EditText
    private lateinit var live: LiveView
    private var camera: Camera? = null

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        live = LiveView(app.scope, getString(R.string.camera_question))
        build()
        if (checkSelfPermission(Manifest.permission.CAMERA) != PackageManager.PERMISSION_GRANTED) {
            requestPermissions(arrayOf(Manifest.permission.CAMERA), ASK_CAMERA)
        }
    }

    private fun build() {
        status = announced(R.id.status)
        vitals = text(R.id.vitals)
        preview = TextureView(this).apply {
            contentDescription = getString(R.string.camera_view)
            surfaceTextureListener = this@CameraActivity
        }
        answer = announced(R.id.answer).apply {
            setTextColor(OVERLAY_TEXT)
            setBackgroundColor(OVERLAY)
            setText(R.string.camera_waits)
            setPadding(dp(16), dp(12), dp(16), dp(12))
        }
        counts = text(R.id.counts)
        question = field(R.id.question, R.string.standing_question)
        question.setText(live.question)
        question.addTextChangedListener(QuestionWatcher())
        val over = FrameLayout.LayoutParams(-1, -2, Gravity.BOTTOM)
        val picture = FrameLayout(this).apply {
            addView(preview)
            addView(answer, over)
        }
        val content = column(status, vitals, question)
        content.addView(picture, filling())
        content.addView(counts)
        setContentView(content)
    }

    private inner class QuestionWatcher : TextWatcher {
        override fun beforeTextChanged(text: CharSequence, start: Int, count: Int, after: Int) = Unit

        override fun onTextChanged(text: CharSequence, start: Int, before: Int, count: Int) = Unit

        override fun afterTextChanged(text: Editable) {
            live.question = text.toString()
        }
    }

    override fun follow() {
        followVitals(vitals)
        each(app.assistant.model) { status.text = words(it) }
        each(live.state) { show(it) }
        if (preview.isAvailable) preview.surfaceTexture?.let { open(it) }
    }

    private fun show(live: LiveAnswer) {
        val words = live.fault ?: live.answer
        if (words.isNotEmpty()) answer.text = words
        counts.text = getString(R.string.camera_counts, live.firstMillis ?: 0, live.answered, live.dropped)
    }

    /** Takes a camera's frame, or drops it where another one is being answered. */
    internal fun frame(read: () -> Picture) {
        val model = app.assistant.model.value
        if (model is Model.Ready) live.offer(model.phantom, read)
    }

    private fun frame(image: Image, degrees: Int) = frame { Picture.of(image, Picture.Rotation.ofDegrees(degrees)) }

    private fun open(texture: SurfaceTexture) {
        if (checkSelfPermission(Manifest.permission.CAMERA) != PackageManager.PERMISSION_GRANTED) return
        camera?.close()
        val opened =
            Camera(this, displayDegrees(), ::frame) { runOnUiThread { answer.setText(R.string.camera_absent) } }
        camera = opened
        if (!opened.open(texture)) answer.setText(R.string.camera_absent)
    }

    @Suppress("DEPRECATION") // its successor is newer than API 26
    private fun displayDegrees() = 90 * when (windowManager.defaultDisplay.rotation) {
        Surface.ROTATION_90 -> 1
        Surface.ROTATION_180 -> 2
        Surface.ROTATION_270 -> 3
        else -> 0
    }

    override fun onRequestPermissionsResult(requestCode: Int, permissions: Array<String>, grantResults: IntArray) {
        if (grantResults.firstOrNull() == PackageManager.PERMISSION_GRANTED) {
            if (preview.isAvailable) preview.surfaceTexture?.let { open(it) }
        } else {
            answer.setText(R.string.camera_denied)
        }
    }

    override fun onSurfaceTextureAvailable(texture: SurfaceTexture, width: Int, height: Int) {
        turn(width, height)
        open(texture)
    }

    override fun onSurfaceTextureSizeChanged(texture: SurfaceTexture, width: Int, height: Int) = turn(width, height)

    /** Turns the preview back where the display is turned, as `TextureView` itself does not. */
    private fun turn(width: Int, height: Int) {
        val degrees = displayDegrees()
        val matrix = Matrix()
        val (x, y) = width / 2f to height / 2f
        if (degrees % 180 != 0) matrix.postScale(height.toFloat() / width, width.toFloat() / height, x, y)
        matrix.postRotate(-degrees.toFloat(), x, y)
        preview.setTransform(matrix)
    }

    override fun onSurfaceTextureDestroyed(texture: SurfaceTexture): Boolean = true

    override fun onSurfaceTextureUpdated(texture: SurfaceTexture) = Unit

    override fun onStop() {
        camera?.close()
        camera = null
        live.stop()
        super.onStop()
    }
}
