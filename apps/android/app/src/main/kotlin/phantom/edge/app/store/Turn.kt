package phantom.edge.app.store

/** How far an answer is. */
internal enum class Progress {
    /** It is being written. */
    RUNNING,

    /** It is whole. */
    DONE,

    /** The user stopped it. */
    STOPPED,

    /** The app ended in the middle of it. */
    INTERRUPTED,

    /** It has no answer: the text says why. */
    FAILED,
}

/**
 * A question and its answer.
 *
 * @property picture Name of the picture's file, null where the question has none.
 * @property firstMillis Time to the first piece of the answer, null before it.
 */
internal data class Turn(
    val id: Long,
    val question: String,
    val picture: String?,
    val answer: String,
    val progress: Progress,
    val firstMillis: Long?,
    val tokens: Int,
)

/** A conversation; its title is its first question. */
internal data class Conversation(val id: Long, val title: String)
