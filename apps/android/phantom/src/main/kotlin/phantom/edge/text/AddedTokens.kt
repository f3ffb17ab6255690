package phantom.edge.text

import phantom.edge.json.Node

/** A token that is found in a text before anything else happens to it. */
internal class AddedToken(
    val id: Int,
    val content: String,
    val singleWord: Boolean,
    val leftStrip: Boolean,
    val rightStrip: Boolean,
    val normalized: Boolean,
    val special: Boolean,
) {
    companion object {
        fun read(node: Node): AddedToken = node.fields {
            AddedToken(
                get("id").int(),
                get("content").string(),
                get("single_word").boolean(),
                get("lstrip").boolean(),
                get("rstrip").boolean(),
                get("normalized").boolean(),
                get("special").boolean(),
            )
        }
    }
}

/** A part of a text: an added token, or text between them. */
internal class Span(val text: String, val token: Int?)

/** Finds tokens by their texts: the leftmost, and of several there the longest. */
internal class AddedTokens(tokens: List<Pair<String, AddedToken>>) {
    private val byFirst: Map<Char, List<Pair<String, AddedToken>>> = tokens
        .filter { it.first.isNotEmpty() }
        .sortedByDescending { it.first.length }
        .groupBy { it.first[0] }

    fun split(text: String): List<Span> {
        val found = ArrayList<Span>()
        var end = 0
        var at = 0
        while (at < text.length) {
            val match = byFirst[text[at]]?.firstOrNull { text.startsWith(it.first, at) }
            if (match == null) {
                at++
                continue
            }
            val (content, token) = match
            var start = at
            var stop = at + content.length
            at = stop
            if (token.singleWord && !isAlone(text, start, stop)) continue
            if (token.leftStrip) while (start > end && isSpace(text[start - 1])) start--
            if (token.rightStrip) while (stop < text.length && isSpace(text[stop])) stop++
            if (start > end) found.add(Span(text.substring(end, start), null))
            found.add(Span("", token.id))
            end = stop
        }
        if (end < text.length) found.add(Span(text.substring(end), null))
        return found
    }

    private fun isAlone(text: String, start: Int, stop: Int): Boolean =
        (start == 0 || !isWord(text.codePointBefore(start))) && (stop == text.length || !isWord(text.codePointAt(stop)))

    private fun isWord(letter: Int): Boolean = when (Character.getType(letter).toByte()) {
        Character.CONNECTOR_PUNCTUATION,
        Character.NON_SPACING_MARK,
        Character.ENCLOSING_MARK,
        Character.COMBINING_SPACING_MARK,
        -> true
        else -> Character.isAlphabetic(letter) || Character.isDigit(letter) || letter in JOINERS
    }

    private fun isSpace(letter: Char) = letter in '\t'..'\r' || letter == '\u0085' || Character.isSpaceChar(letter)

    private companion object {
        val JOINERS = 0x200c..0x200d
    }
}
