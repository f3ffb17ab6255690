package phantom.edge.app.screens

import android.os.Bundle
import android.widget.ArrayAdapter
import android.widget.Button
import android.widget.ListView
import android.widget.TextView
import kotlinx.coroutines.flow.collectLatest
import kotlinx.coroutines.launch
import phantom.edge.Phantom
import phantom.edge.Report
import phantom.edge.State
import phantom.edge.app.R
import phantom.edge.app.talk.Examined
import phantom.edge.app.talk.Model
import phantom.edge.app.talk.proofWords

/** The bundle's golden questions, every comparison with both values, failed ones first; and the proof of its export. */
internal class SelfTestActivity : Screen() {
    private lateinit var status: TextView
    private lateinit var start: Button
    private lateinit var proof: TextView
    private lateinit var rows: ArrayAdapter<String>
    private var found = listOf<String>()
    private var proved = listOf<String>()

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        status = announced(R.id.status)
        start = button(R.id.start, R.string.start) { startOrStop() }
        proof = text(R.id.proof)
        rows = object : ArrayAdapter<String>(this, 0) {
            override fun getView(place: Int, old: android.view.View?, parent: android.view.ViewGroup) =
                ((old as TextView?) ?: text()).apply { text = getItem(place) }
        }
        val list = ListView(this).apply {
            id = R.id.rows
            adapter = rows
        }
        val content = column(text(words = getString(R.string.self_test_says)), row(start), status, proof)
        content.addView(list, filling())
        setContentView(content)
    }

    private fun startOrStop() = attempt({ status.text = it }) {
        if (app.examination.state.value.isRunning) {
            app.examination.stop()
        } else {
            app.assistant.stop()
            app.examination.start(app.assistant.phantom())
        }
    }

    override fun follow() {
        each(app.examination.state) { show(it) }
        shown.launch { app.assistant.model.collectLatest { follow(it) } }
    }

    private suspend fun follow(model: Model) {
        if (model is Model.Ready) {
            attempt({ proof.text = it }) { showProof(model.phantom) }
            model.phantom.state.collect { show(it) }
        } else {
            status.text = words(model)
        }
    }

    private suspend fun showProof(phantom: Phantom) {
        val words = proofWords(phantom.proof(), resources)
        proof.text = words.summary
        proved = words.rows
        fill()
    }

    private fun fill() {
        rows.clear()
        rows.addAll(found + proved)
    }

    private fun show(state: State) {
        if (state is State.Testing && app.examination.state.value.isRunning) {
            status.text = getString(R.string.self_test_running, state.done, state.questions)
        }
    }

    private fun show(examined: Examined) {
        start.setText(if (examined.isRunning) R.string.stop else R.string.start)
        examined.fault?.let { status.text = it }
        found = examined.report?.let { show(it) }.orEmpty()
        fill()
    }

    private fun show(report: Report): List<String> {
        val all = report.findings.size
        status.text = if (report.passed) {
            getString(R.string.self_test_passed, all)
        } else {
            getString(R.string.self_test_failed, report.faults.size, all)
        }
        val findings = report.findings.sortedBy { it.passed }.map { finding ->
            val how = getString(if (finding.passed) R.string.passed else R.string.differs)
            "$how: " + getString(R.string.finding, finding.name, finding.expected, finding.found)
        }
        return findings + report.leftOut.map { getString(R.string.left_out, it) }
    }
}
