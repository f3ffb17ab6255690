package phantom.edge.session

import phantom.edge.Answer
import phantom.edge.Finding
import phantom.edge.Message
import phantom.edge.PhantomError
import phantom.edge.Picture
import phantom.edge.Report
import phantom.edge.Role
import phantom.edge.Settings
import phantom.edge.bundle.BundleFolder
import phantom.edge.bundle.Golden
import phantom.edge.bundle.GoldenPicture
import phantom.edge.bundle.GoldenQuestion
import phantom.edge.bundle.GoldenRow
import phantom.edge.pictures.Tiles
import phantom.edge.pictures.cutTiles
import java.io.IOException
import java.util.Locale
import kotlin.math.abs

private const val SHOWN = 60

/**
 * A bundle's golden questions, asked in its own engine, and compared at every stage.
 *
 * Every answer is fed the golden ids, so that a tie, which two right programs may break in two ways, ends no comparison;
 * the tokens that the session would have chosen are compared where the choice is clear.
 */
internal class SelfTest(private val bundle: BundleFolder, private val session: Session) {
    private val golden = Golden.read(bundle)
    private val manifest = bundle.manifest
    private val stopTokens = manifest.prompt.stopTokens
    private val findings = ArrayList<Finding>()
    private val seen = HashMap<Int, Seen>()

    private class Seen(val tiles: Tiles, val tokens: FloatArray)

    /** What happened while a question was answered. */
    private class Run(private val forced: List<Int>) : Watch() {
        var prompt = ""
        var ids = listOf<Int>()
        val pictures = ArrayList<Seen>()
        val logits = ArrayList<FloatArray>()
        val choices = ArrayList<Int>()
        val pieces = ArrayList<String>()
        val answer = Answer()

        override fun onPrompt(text: String, ids: IntArray) {
            prompt = text
            this.ids = ids.toList()
        }

        override fun onPicture(number: Int, tiles: Tiles, tokens: FloatArray) {
            pictures.add(Seen(tiles, tokens))
        }

        override fun onLogits(logits: FloatArray) {
            this.logits.add(logits.copyOf())
        }

        override fun feed(chosen: Int): Int {
            choices.add(chosen)
            return forced.getOrElse(choices.size - 1) { chosen }
        }
    }

    /** Asks everything; [progress] takes the numbers of questions done and of all. */
    suspend fun run(progress: (Int, Int) -> Unit): Report {
        val pictures = golden.pictures.map { read(it) }
        session.forget()
        embeddings()
        val runs = golden.questions.mapIndexed { number, question ->
            progress(number, golden.questions.size)
            ask(question, pictures)
        }
        for ((number, picture) in pictures.withIndex()) compare(number, picture)
        for ((question, run) in golden.questions.zip(runs)) if (run != null) compare(question, run)
        session.forget()
        return Report(findings, golden.leftOut)
    }

    private fun read(picture: GoldenPicture): Picture {
        val file = bundle.file(picture.file)
        try {
            return Picture.decode(file.readBytes())
        } catch (error: PhantomError.BadPicture) {
            throw PhantomError.DamagedBundle("$file: ${error.problem}", cause = error)
        } catch (error: IOException) {
            throw PhantomError.DamagedBundle("$file cannot be read (${error.message})", cause = error)
        }
    }

    private fun forced(question: GoldenQuestion): List<Int> =
        if (question.stoppedBy == "end of turn") question.answerIds + stopTokens[0] else question.answerIds

    private suspend fun ask(question: GoldenQuestion, pictures: List<Picture>): Run? {
        val run = Run(forced(question))
        val shown = question.pictures.map { pictures[it] }
        val settings = Settings(question.maxNewTokens)
        try {
            val messages = listOf(Message(Role.USER, question.question))
            session.answer(messages, shown, settings, run.answer, run) { run.pieces.add(it) }
        } catch (error: PhantomError) {
            findings.add(Finding("'${question.name}': answer", short(question.text), error.problem, false))
            return null
        }
        for ((place, one) in question.pictures.zip(run.pictures)) if (place !in seen) seen[place] = one
        return run
    }

    private fun embeddings() {
        val rows = golden.embeddings
        if (rows.isEmpty()) return
        val width = manifest.model.hidden
        val found = session.engine.embed(IntArray(rows.size) { rows[it].row })
        val largest = rows.maxOf { row -> (row.first + row.last).maxOf { abs(it) } }
        compare("embeddings", rows, largest, golden.embeddingsBound) { number, _ ->
            found.copyOfRange(number * width, (number + 1) * width)
        }
    }

    private fun compare(number: Int, picture: Picture) {
        val wanted = golden.pictures[number]
        val name = "picture ${number + 1}"
        val found = seen[number] ?: encode(picture)
        val grid = found.tiles.grid
        same("$name: pixels", "${wanted.width} x ${wanted.height}", "${picture.width} x ${picture.height}")
        same("$name: grid", wanted.grid.joinToString(" x "), "${grid.columns} x ${grid.rows}")
        val hashes = found.tiles.hashes()
        val wrong = hashes.indices.filter { wanted.tiles.getOrNull(it) != hashes[it] }
        val said = when {
            hashes.size != wanted.tiles.size -> "${hashes.size}"
            wrong.isEmpty() -> "the same"
            else -> "other pixels in tiles ${wrong.joinToString()}"
        }
        findings.add(Finding("$name: tiles", "${wanted.tiles.size}", said, hashes == wanted.tiles))
        val width = manifest.model.hidden
        val count = found.tokens.size / width
        compare("$name: image tokens", wanted.imageTokens, wanted.largest, golden.imageTokensBound) { _, row ->
            if (row < count) found.tokens.copyOfRange(row * width, (row + 1) * width) else FloatArray(0)
        }
        val column = FloatArray(count) { found.tokens[it * width] }
        bounded("$name: order of image tokens", error(wanted.column, column, wanted.largest), golden.imageTokensBound)
    }

    private fun encode(picture: Picture): Seen {
        val tiles = cutTiles(picture, manifest.pictures)
        val tokens = tiles.tiles.map { session.engine.encode(it) }
        return Seen(tiles, tokens.fold(FloatArray(0)) { all, one -> all + one })
    }

    private fun compare(question: GoldenQuestion, run: Run) {
        val name = "'${question.name}'"
        same("$name: prompt", question.prompt, run.prompt)
        val place = question.ids.zip(run.ids).indexOfFirst { (one, other) -> one != other }
        val said = "${run.ids.size} tokens" + if (place < 0) "" else ", other ones from place $place on"
        findings.add(Finding("$name: token ids", "${question.ids.size} tokens", said, question.ids == run.ids))
        same("$name: tokens reused", question.reused, run.answer.reusedTokens)
        logits("$name: logits", question, run)
        choices("$name: choices", question, run)
        same("$name: pieces", question.pieces.joinToString(" | "), run.pieces.joinToString(" | "))
        same("$name: answer", question.text, run.answer.text)
        same("$name: end", question.stoppedBy, run.answer.end.word)
    }

    private fun logits(name: String, question: GoldenQuestion, run: Run) {
        if (run.logits.size != question.steps.size) {
            findings.add(Finding(name, "${question.steps.size} steps", "${run.logits.size} steps", false))
            return
        }
        val errors = question.steps.zip(run.logits).map { (step, logits) ->
            error(step.values, FloatArray(step.ids.size) { logits[step.ids[it]] }, question.largest)
        }
        bounded(name, errors.max(), golden.logitsBound, " in step ${errors.indexOf(errors.max())}")
    }

    private fun choices(name: String, question: GoldenQuestion, run: Run) {
        fun same(one: Int, other: Int) = one == other || (one in stopTokens && other in stopTokens)
        val clear = question.steps.map { it.choice }
        val wrong = clear.zip(run.choices).indexOfFirst { (wanted, chosen) -> wanted != null && !same(wanted, chosen) }
        val ties = clear.count { it == null }
        val expected = "${clear.size} tokens" + if (ties > 0) ", $ties of them ties" else ""
        val said = if (wrong < 0) "the same" else "token ${run.choices[wrong]} in step $wrong, not ${clear[wrong]}"
        findings.add(Finding(name, expected, said, wrong < 0))
    }

    private fun compare(
        name: String,
        rows: List<GoldenRow>,
        largest: Double,
        bound: Double,
        found: (Int, Int) -> FloatArray,
    ) {
        val errors = rows.mapIndexed { number, row ->
            val numbers = found(number, row.row)
            val first = numbers.take(row.first.size).toFloatArray()
            val last = numbers.takeLast(row.last.size).toFloatArray()
            maxOf(error(row.first, first, largest), error(row.last, last, largest))
        }
        val worst = errors.maxOrNull() ?: return
        bounded(name, worst, bound, " in row ${rows[errors.indexOf(worst)].row}")
    }

    private fun bounded(name: String, error: Double, bound: Double, place: String = "") {
        findings.add(Finding(name, "within ${shown(bound)}", shown(error) + place, error <= bound))
    }

    /** The largest difference as a share of the largest magnitude; infinite where one is no number, or not there. */
    private fun error(wanted: DoubleArray, found: FloatArray, largest: Double): Double {
        if (wanted.size != found.size) return Double.POSITIVE_INFINITY
        val error = (wanted.indices.maxOfOrNull { abs(wanted[it] - found[it]) } ?: 0.0) / largest
        return if (error.isNaN()) Double.POSITIVE_INFINITY else error
    }

    private fun shown(share: Double) = "%.1e".format(Locale.ROOT, share)

    private fun same(name: String, wanted: Any, found: Any) {
        findings.add(Finding(name, short(wanted), short(found), wanted == found))
    }

    private fun short(value: Any): String {
        val text = value.toString().replace("\n", "\\n")
        return if (text.length <= SHOWN) text else text.take(SHOWN / 2) + " ... " + text.takeLast(SHOWN / 2)
    }
}
