package phantom.edge.app.screens

import android.content.Intent
import android.os.Bundle
import android.view.View
import android.widget.Button
import android.widget.LinearLayout
import android.widget.ScrollView
import android.widget.TextView
import phantom.edge.app.R
import phantom.edge.app.talk.Measured
import phantom.edge.app.talk.Model

/** A measurement of the bundle, which can be shared as the lines that `phantom-edge profile` reads. */
internal class BenchmarkActivity : Screen() {
    private lateinit var status: TextView
    private lateinit var vitals: TextView
    private lateinit var start: Button
    private lateinit var share: Button
    private lateinit var rows: LinearLayout

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        status = announced(R.id.status)
        vitals = text(R.id.vitals)
        start = button(R.id.start, R.string.start) { startOrStop() }
        share = button(R.id.share, R.string.share, getString(R.string.share_lines)) { share() }
        rows = LinearLayout(this).apply {
            id = R.id.rows
            orientation = LinearLayout.VERTICAL
        }
        val says = text(words = getString(R.string.benchmark_says))
        val content = column(says, row(start, share), status, vitals)
        content.addView(ScrollView(this).apply { addView(rows) }, filling())
        setContentView(content)
    }

    private fun startOrStop() = attempt({ status.text = it }) {
        if (app.benchmark.state.value.isRunning) {
            app.benchmark.stop()
        } else {
            app.assistant.stop()
            app.benchmark.start(app.assistant.phantom())
        }
    }

    override fun follow() {
        followVitals(vitals)
        each(app.assistant.model) { if (it !is Model.Ready) status.text = words(it) }
        each(app.benchmark.state) { show(it) }
    }

    private fun show(measured: Measured) {
        start.setText(if (measured.isRunning) R.string.stop else R.string.start)
        share.visibility = if (measured.json.isEmpty() || measured.isRunning) View.GONE else View.VISIBLE
        when {
            measured.fault != null -> status.text = measured.fault
            measured.isRunning -> status.setText(R.string.benchmark_running)
            measured.json.isNotEmpty() -> status.setText(R.string.benchmark_ended)
        }
        rows.removeAllViews()
        for ((name, value) in measured.rows) rows.addView(text(words = "$name: $value"))
    }

    private fun share() {
        val lines = app.benchmark.state.value.json.joinToString("\n")
        val intent = Intent(Intent.ACTION_SEND).setType("text/plain").putExtra(Intent.EXTRA_TEXT, lines)
        startActivity(Intent.createChooser(intent, getString(R.string.share_lines)))
    }
}
