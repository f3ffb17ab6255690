package phantom.edge.app.profile

import android.app.Activity
import android.os.Bundle
import android.view.WindowManager
import android.widget.FrameLayout
import android.widget.TextView
import phantom.edge.app.R

/** The screen during a measurement: it stays on, and shows why nothing else does. */
internal class MeasurementActivity : Activity() {
    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        window.addFlags(WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON)
        val side = (16 * resources.displayMetrics.density).toInt()
        val words = TextView(this).apply {
            setText(R.string.measuring)
            setTextAppearance(android.R.style.TextAppearance_Material_Body1)
            setPadding(side, side, side, side)
        }
        setContentView(
            FrameLayout(this).apply {
                fitsSystemWindows = true // in place of a padding of its own
                addView(words)
            },
        )
    }
}
