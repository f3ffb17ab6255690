package phantom.edge.app.store

import android.content.ContentValues
import android.content.Context
import android.database.Cursor
import android.database.sqlite.SQLiteDatabase
import android.database.sqlite.SQLiteOpenHelper

private const val TURN_COLUMNS = "id, question, picture, answer, progress, first_millis, tokens"

/** Conversations in SQLite, which outlive the process: what was written of an answer is there after it was killed. */
internal class Conversations(context: Context) : SQLiteOpenHelper(context, "conversations.db", null, 1) {
    override fun onConfigure(db: SQLiteDatabase) {
        db.setForeignKeyConstraintsEnabled(true)
    }

    override fun onCreate(db: SQLiteDatabase) {
        db.execSQL("CREATE TABLE conversation (id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT NOT NULL)")
        db.execSQL(
            """CREATE TABLE turn (
                id INTEGER PRIMARY KEY AUTOINCREMENT,
                conversation INTEGER NOT NULL REFERENCES conversation(id) ON DELETE CASCADE,
                question TEXT NOT NULL,
                picture TEXT,
                answer TEXT NOT NULL,
                progress TEXT NOT NULL,
                first_millis INTEGER,
                tokens INTEGER NOT NULL
            )""",
        )
        db.execSQL("CREATE INDEX turn_by_conversation ON turn(conversation, id)")
    }

    override fun onUpgrade(db: SQLiteDatabase, oldVersion: Int, newVersion: Int): Unit =
        error("version $newVersion follows no other")

    /** Marks answers that were being written when the process ended; called once, before any question. */
    fun recover() {
        val values = ContentValues().apply { put("progress", Progress.INTERRUPTED.name) }
        writableDatabase.update("turn", values, "progress = ?", arrayOf(Progress.RUNNING.name))
    }

    /** All conversations, the newest first. */
    fun all(): List<Conversation> =
        readableDatabase.rawQuery("SELECT id, title FROM conversation ORDER BY id DESC", null).use { row ->
            List(row.count) {
                row.moveToNext()
                Conversation(row.getLong(0), row.getString(1))
            }
        }

    /** The turns of a conversation, the oldest first. */
    fun turns(conversation: Long): List<Turn> {
        val query = "SELECT $TURN_COLUMNS FROM turn WHERE conversation = ? ORDER BY id"
        return readableDatabase.rawQuery(query, arrayOf("$conversation")).use { row ->
            List(row.count) {
                row.moveToNext()
                turn(row)
            }
        }
    }

    private fun turn(row: Cursor) = Turn(
        row.getLong(0),
        row.getString(1),
        row.getString(2),
        row.getString(3),
        Progress.valueOf(row.getString(4)),
        if (row.isNull(5)) null else row.getLong(5),
        row.getInt(6),
    )

    /**
     * Adds a question, whose answer is about to be written, to a [conversation], null for a new one that it names.
     *
     * Returns the ids of the conversation and of the turn. No conversation is ever without a turn.
     */
    fun add(conversation: Long?, question: String, picture: String?): Pair<Long, Long> {
        val db = writableDatabase
        db.beginTransaction()
        try {
            val place = conversation ?: db.insertOrThrow("conversation", null, values("title" to question))
            val turn = values("question" to question, "picture" to picture, "answer" to "")
            turn.put("conversation", place)
            turn.put("progress", Progress.RUNNING.name)
            turn.put("tokens", 0)
            val id = db.insertOrThrow("turn", null, turn)
            db.setTransactionSuccessful()
            return place to id
        } finally {
            db.endTransaction()
        }
    }

    private fun values(vararg texts: Pair<String, String?>) =
        ContentValues().apply { texts.forEach { (column, text) -> put(column, text) } }

    /** Writes an answer, or what there is of it. */
    fun write(turn: Turn) {
        val values = ContentValues()
        values.put("answer", turn.answer)
        values.put("progress", turn.progress.name)
        values.put("first_millis", turn.firstMillis)
        values.put("tokens", turn.tokens)
        writableDatabase.update("turn", values, "id = ?", arrayOf("${turn.id}"))
    }

    /** Removes a conversation with its turns. */
    fun remove(conversation: Long) {
        writableDatabase.delete("conversation", "id = ?", arrayOf("$conversation"))
    }

    /** Names of the pictures of all turns. */
    fun pictures(): Set<String> =
        readableDatabase.rawQuery("SELECT DISTINCT picture FROM turn WHERE picture IS NOT NULL", null).use { row ->
            List(row.count) {
                row.moveToNext()
                row.getString(0)
            }.toSet()
        }
}
