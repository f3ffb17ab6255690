package phantom.edge.app.screens

import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.util.LruCache
import android.view.View
import android.view.ViewGroup
import android.widget.BaseAdapter
import android.widget.ImageView
import android.widget.LinearLayout
import android.widget.TextView
import phantom.edge.app.R
import phantom.edge.app.store.PictureFiles
import phantom.edge.app.store.Progress
import phantom.edge.app.store.Turn

private const val KEPT_PICTURES = 16

/** A small version of a picture, null where Android cannot decode it; nothing larger is ever in memory. */
internal fun thumbnail(path: String, side: Int): Bitmap? {
    val options = BitmapFactory.Options()
    options.inJustDecodeBounds = true
    BitmapFactory.decodeFile(path, options)
    options.inJustDecodeBounds = false
    options.inSampleSize = maxOf(1, Integer.highestOneBit(maxOf(options.outWidth, options.outHeight) / side))
    return BitmapFactory.decodeFile(path, options)
}

/** Questions with their pictures and answers. */
internal class TurnsAdapter(
    private val pictures: PictureFiles,
    private val newText: () -> TextView,
    private val pixels: (Int) -> Int,
) : BaseAdapter() {
    private val thumbnails = LruCache<String, Bitmap>(KEPT_PICTURES)

    /** What is shown. */
    var turns: List<Turn> = listOf()
        set(value) {
            field = value
            notifyDataSetChanged()
        }

    override fun getCount(): Int = turns.size

    override fun getItem(position: Int): Turn = turns[position]

    override fun getItemId(position: Int): Long = turns[position].id

    override fun hasStableIds(): Boolean = true

    override fun isEnabled(position: Int): Boolean = false

    private class Row(val question: TextView, val picture: ImageView, val answer: TextView, val facts: TextView)

    private fun newRow(parent: ViewGroup): LinearLayout {
        val context = parent.context
        val picture = ImageView(context).apply {
            adjustViewBounds = true
            maxHeight = pixels(160)
            scaleType = ImageView.ScaleType.FIT_START
            setPadding(pixels(16), pixels(8), pixels(16), 0)
            contentDescription = context.getString(R.string.photo_of_question)
        }
        val row = Row(newText(), picture, newText(), newText())
        row.question.setBackgroundColor(context.getColor(R.color.bubble))
        row.answer.setTextIsSelectable(true)
        row.facts.setTextAppearance(android.R.style.TextAppearance_Material_Caption)
        return LinearLayout(context).apply {
            orientation = LinearLayout.VERTICAL
            setPadding(0, pixels(4), 0, pixels(4))
            for (view in listOf(row.picture, row.question, row.answer, row.facts)) addView(view)
            tag = row
        }
    }

    override fun getView(position: Int, convertView: View?, parent: ViewGroup): View {
        val view = convertView ?: newRow(parent)
        val row = view.tag as Row
        val turn = turns[position]
        val context = parent.context
        row.question.text = turn.question
        row.question.contentDescription = context.getString(R.string.question_said, turn.question)
        val bitmap = turn.picture?.let { bitmap(it) }
        row.picture.setImageBitmap(bitmap)
        row.picture.visibility = if (turn.picture == null) View.GONE else View.VISIBLE
        row.answer.text = turn.answer
        row.answer.visibility = if (turn.answer.isEmpty()) View.GONE else View.VISIBLE
        row.answer.contentDescription = context.getString(R.string.answer_said, turn.answer)
        val timed = turn.firstMillis?.let { context.getString(R.string.first_token, it, turn.tokens) }
        val how = when (turn.progress) {
            Progress.RUNNING -> if (turn.answer.isEmpty()) context.getString(R.string.thinking) else null
            Progress.DONE -> null
            Progress.STOPPED -> context.getString(R.string.stopped)
            Progress.INTERRUPTED -> context.getString(R.string.interrupted)
            Progress.FAILED -> context.getString(R.string.failed)
        }
        row.facts.text = listOfNotNull(how, timed).joinToString("; ")
        return view
    }

    private fun bitmap(name: String): Bitmap? = thumbnails[name]
        ?: thumbnail(pictures.file(name).path, pixels(160))?.also { thumbnails.put(name, it) }
}
