package phantom.edge

import java.util.concurrent.CopyOnWriteArrayList

/** The writer of a message. */
public enum class Role {
    /** The program. */
    SYSTEM,

    /** The user. */
    USER,

    /** The model. */
    ASSISTANT,
    ;

    internal val word: String = name.lowercase()
}

/**
 * A message of a conversation.
 *
 * A picture's place is the mark of the bundle, usually `<image>`. Where no message has one, the pictures come before the
 * text of the last message.
 */
public class Message(public val role: Role, public val text: String)

/**
 * Rules for the next token.
 *
 * @property maxNewTokens Largest number of tokens of an answer.
 * @property temperature 0 is greedy: the likeliest token. Otherwise logits are divided by it.
 * @property topP Share of the likeliest tokens that sampling chooses from.
 * @property topK Number of the likeliest tokens that sampling chooses from; 0: all.
 * @property seed Seed of sampling; null: another one each time.
 */
public class Settings(
    public val maxNewTokens: Int = MAX_NEW_TOKENS,
    public val temperature: Double = 0.0,
    public val topP: Double = 1.0,
    public val topK: Int = 0,
    public val seed: Long? = null,
) {
    init {
        check(maxNewTokens >= 1, "maxNewTokens is $maxNewTokens", "give 1 or more")
        check(
            temperature == 0.0 || temperature in COLDEST..HOTTEST,
            "temperature is $temperature",
            "give 0 (greedy), or $COLDEST to $HOTTEST",
        )
        check(topP > 0 && topP <= 1, "topP is $topP", "give more than 0 and at most 1")
        check(topK >= 0, "topK is $topK", "give 0 (off) or more")
    }

    private fun check(holds: Boolean, problem: String, remedy: String) {
        if (!holds) throw PhantomError.BadQuestion(problem, remedy)
    }

    private companion object {
        const val MAX_NEW_TOKENS = 256
        const val COLDEST = 1e-4
        const val HOTTEST = 1e4
    }
}

/** A piece of an answer: complete letters, never empty. */
public class Piece(public val text: String) {
    override fun toString(): String = text
}

/** The end of an answer. */
public enum class End {
    /** The flow was cancelled, or has not ended yet. */
    INTERRUPTED,

    /** A token that ends the model's turn. */
    END_OF_TURN,

    /** [Settings.maxNewTokens]. */
    LENGTH,

    /** The cache is full. */
    CONTEXT,
    ;

    internal val word: String = name.lowercase().replace('_', ' ')
}

/** Facts about an answer, which is filled while its flow is collected. */
public class Answer {
    /** The text so far. */
    @Volatile
    public var text: String = ""
        internal set

    /** The token ids so far, without the one that ended the turn. */
    public val ids: List<Int> get() = tokens.toList()

    /** Tokens of the prompt. */
    @Volatile
    public var promptTokens: Int = 0
        internal set

    /** Tokens of the prompt that were in the cache already. */
    @Volatile
    public var reusedTokens: Int = 0
        internal set

    /** Seconds for pictures, from the question on. */
    @Volatile
    public var visionSeconds: Double = 0.0
        internal set

    /** Seconds for the prompt. */
    @Volatile
    public var prefillSeconds: Double = 0.0
        internal set

    /** Seconds from the prompt's end to the last token. */
    @Volatile
    public var decodeSeconds: Double = 0.0
        internal set

    /** The reason of the end. */
    @Volatile
    public var end: End = End.INTERRUPTED
        internal set

    internal val tokens = CopyOnWriteArrayList<Int>()
}

/** What an open bundle does. */
public sealed class State {
    /** Nothing: it can be asked. */
    public object Ready : State()

    /** It encodes pictures: [done] tiles of [tiles]. */
    public data class Seeing(val done: Int, val tiles: Int) : State()

    /** It reads a prompt: [done] tokens of [tokens], those in the cache included. */
    public data class Reading(val done: Int, val tokens: Int) : State()

    /** It has written so many [tokens] of an answer. */
    public data class Answering(val tokens: Int) : State()

    /** It compares itself with the golden answers: [done] questions of [questions]. */
    public data class Testing(val done: Int, val questions: Int) : State()

    /** It measures itself. */
    public object Profiling : State()

    /** It was closed. */
    public object Closed : State()
}
