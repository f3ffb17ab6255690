package phantom.edge.text

import phantom.edge.Message
import phantom.edge.PhantomError
import phantom.edge.bundle.Manifest

/** From a conversation to token ids. */
internal class Prompts(private val manifest: Manifest, private val tokenizer: Tokenizer) {
    private val prompt = manifest.prompt
    private val turns = prompt.turns ?: throw PhantomError.Unsupported(
        "the chat template of this bundle is more than texts around messages, and this library renders no Jinja",
        "give its model a plain chat template and export again, or run the bundle with phantom-edge",
    )

    /** The prompt's text, in which each of so many pictures is still its mark. */
    fun render(messages: List<Message>, pictures: Int): String {
        val last = messages.lastOrNull()
            ?: throw PhantomError.BadQuestion("the conversation is empty", "begin with the message of a user")
        if (last.text.isBlank()) {
            throw PhantomError.BadQuestion("the question is empty", "ask something, such as What is in the picture?")
        }
        val mark = prompt.images.mark
        val hasMarks = messages.any { mark in it.text }
        val text = StringBuilder()
        for (message in messages) {
            for (reserved in prompt.reserved) {
                if (reserved in message.text) {
                    throw PhantomError.BadQuestion(
                        "a message contains the reserved text $reserved",
                        "write $mark where a picture goes, and leave $reserved out",
                    )
                }
            }
            val turn = turns.roles[message.role.word] ?: throw PhantomError.BadQuestion(
                "this bundle has no messages of the role ${message.role.word}",
                "use only: ${turns.roles.keys.joinToString()}",
            )
            val marks = if (!hasMarks && message === last) mark.repeat(pictures) else ""
            text.append(turn.before).append(marks).append(message.text).append(turn.after)
        }
        return text.append(turns.generation).toString()
    }

    /** Token ids of a rendered prompt, whose pictures have so many image tokens. */
    fun ids(rendered: String, imageTokens: List<Int>): IntArray {
        val marks = prompt.images
        val texts = rendered.split(marks.mark)
        if (texts.size - 1 != imageTokens.size) {
            throw PhantomError.BadQuestion(
                "${texts.size - 1} ${marks.mark} marks, but ${imageTokens.size} pictures",
                "write one ${marks.mark} for every picture, in their order, or none at all",
            )
        }
        val whole = StringBuilder(texts[0])
        for ((place, count) in imageTokens.withIndex()) {
            whole.append(marks.start).append(marks.context.repeat(count)).append(marks.end).append(texts[place + 1])
        }
        return tokenizer.encode(whole.toString()).also { check(it, imageTokens.sum()) }
    }

    private fun check(ids: IntArray, imageTokens: Int) {
        val vocabulary = manifest.model.vocabulary
        ids.firstOrNull { it >= vocabulary }?.let {
            throw PhantomError.BadQuestion(
                "the tokenizer gives id $it for '${tokenizer.token(it)}', the model's vocabulary has $vocabulary",
                "leave this text out",
            )
        }
        if (ids.firstOrNull() != prompt.firstToken) {
            throw PhantomError.BadQuestion(
                "the prompt begins with another token than this bundle was made for",
                "begin with the message of a user",
            )
        }
        val found = ids.count { it == prompt.imageToken }
        if (found != imageTokens) {
            throw PhantomError.BadQuestion(
                "a message is read as image tokens: $found, and the pictures have $imageTokens",
                "leave ${prompt.images.context} out of the text",
            )
        }
        val room = manifest.cache.maxContext
        if (ids.size >= room) {
            throw PhantomError.BadQuestion(
                "the prompt has ${ids.size} tokens, this bundle holds $room",
                "ask less, give fewer pictures, or export with a larger --max-context",
            )
        }
    }
}
