package phantom.edge.app.screens

import android.app.Activity
import android.content.res.TypedArray
import android.os.Bundle
import android.view.View
import android.view.ViewGroup.LayoutParams.MATCH_PARENT
import android.view.ViewGroup.LayoutParams.WRAP_CONTENT
import android.widget.Button
import android.widget.EditText
import android.widget.LinearLayout
import android.widget.TextView
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.cancel
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.isActive
import kotlinx.coroutines.launch
import phantom.edge.app.PhantomApp
import phantom.edge.app.R
import phantom.edge.app.device.Vitals
import phantom.edge.app.talk.Model
import phantom.edge.app.wordsOf

private const val VITALS_MILLIS = 2000L

/** A screen, which follows the process's state while it is visible. */
internal abstract class Screen : Activity() {
    /** The process. */
    protected val app: PhantomApp get() = application as PhantomApp

    /** Work that ends when the screen is hidden. */
    protected var shown: CoroutineScope = closedScope()
        private set

    private fun closedScope() = CoroutineScope(SupervisorJob() + Dispatchers.Main).also { it.cancel() }

    /** Begins to follow flows; called each time the screen becomes visible. */
    protected abstract fun follow()

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        actionBar?.setDisplayHomeAsUpEnabled(!isTaskRoot)
    }

    override fun onNavigateUp(): Boolean {
        finish()
        return true
    }

    override fun onStart() {
        super.onStart()
        shown = CoroutineScope(SupervisorJob() + Dispatchers.Main)
        follow()
    }

    override fun onStop() {
        shown.cancel()
        super.onStop()
    }

    /** Shows every value of a flow while the screen is visible. */
    protected fun <T> each(flow: Flow<T>, show: suspend (T) -> Unit) {
        shown.launch { flow.collect { show(it) } }
    }

    /** Does [work], and gives an error that a user can correct to [say]. */
    protected fun attempt(say: (String) -> Unit, work: suspend () -> Unit) {
        shown.launch {
            try {
                work()
            } catch (error: Exception) {
                say(wordsOf(error) ?: throw error)
            }
        }
    }

    /** Shows heat and memory every two seconds while the screen is visible. */
    protected fun followVitals(view: TextView) {
        shown.launch {
            while (isActive) {
                view.text = words(app.device.vitals())
                delay(VITALS_MILLIS)
            }
        }
    }

    private fun words(vitals: Vitals): String {
        val thermal = resources.getStringArray(R.array.thermal)
        val memory = getString(R.string.vitals, vitals.nativeMegabytes, vitals.freeMegabytes)
        val low = if (vitals.isLow) getString(R.string.memory_low) else null
        return listOfNotNull(vitals.status?.let { thermal.getOrNull(it) }, memory, low).joinToString(", ")
    }

    /** The state of the bundle in words. */
    protected fun words(model: Model): String = when (model) {
        Model.None -> getString(R.string.no_bundle)
        is Model.Opening -> getString(R.string.opening, model.percent)
        is Model.Ready -> getString(R.string.ready, model.phantom.model)
        is Model.Faulty -> model.words
    }

    /** Pixels of a length that is independent of the display. */
    protected fun dp(length: Int): Int = (length * resources.displayMetrics.density + 0.5f).toInt()

    /** The screen's column, which leaves room for system bars and keyboard. */
    protected fun column(vararg views: View): LinearLayout = LinearLayout(this).apply {
        orientation = LinearLayout.VERTICAL
        fitsSystemWindows = true
        views.forEach { addView(it) }
    }

    /** Views side by side; the one that is [wide] takes the room that is left. */
    protected fun row(vararg views: View, wide: View? = null): LinearLayout = LinearLayout(this).apply {
        orientation = LinearLayout.HORIZONTAL
        for (view in views) {
            addView(view, if (view === wide) LinearLayout.LayoutParams(0, WRAP_CONTENT, 1f) else wrapping())
        }
    }

    private fun wrapping() = LinearLayout.LayoutParams(WRAP_CONTENT, WRAP_CONTENT)

    /** Layout of a view in a column that takes the room that is left. */
    protected fun filling() = LinearLayout.LayoutParams(MATCH_PARENT, 0, 1f)

    /** A line of text. */
    protected fun text(id: Int = View.NO_ID, words: CharSequence = ""): TextView = TextView(this).apply {
        this.id = id
        text = words
        setTextAppearance(android.R.style.TextAppearance_Material_Body1)
        setTextColor(color(android.R.attr.textColorPrimary))
        setPadding(dp(16), dp(4), dp(16), dp(4))
    }

    /** A line whose changes a screen reader says. */
    protected fun announced(id: Int): TextView =
        text(id).apply { accessibilityLiveRegion = View.ACCESSIBILITY_LIVE_REGION_POLITE }

    /** A button with a word, and a longer description where the word alone does not say enough. */
    protected fun button(id: Int, words: Int, description: CharSequence? = null, onClick: () -> Unit): Button =
        Button(this).apply {
            this.id = id
            setText(words)
            contentDescription = description
            minHeight = dp(48)
            setOnClickListener { onClick() }
        }

    /** A line to write in. */
    protected fun field(id: Int, hint: Int): EditText = EditText(this).apply {
        this.id = id
        setHint(hint)
        minimumHeight = dp(48)
    }

    /** A colour of the theme. */
    protected fun color(attribute: Int): Int {
        val found: TypedArray = obtainStyledAttributes(intArrayOf(attribute))
        return found.getColor(0, 0).also { found.recycle() }
    }
}
