package phantom.edge.json

import java.math.BigInteger
import java.nio.ByteBuffer
import java.nio.charset.CharacterCodingException
import java.nio.charset.CodingErrorAction

/** A document that does not fit; the message begins with the place, such as `parts.vision.file`. */
internal class WrongJson(message: String) : Exception(message)

/** Decodes UTF-8. Raises WrongJson for other bytes. */
internal fun strictText(bytes: ByteArray): String {
    val decoder = Charsets.UTF_8.newDecoder()
        .onMalformedInput(CodingErrorAction.REPORT)
        .onUnmappableCharacter(CodingErrorAction.REPORT)
    try {
        return decoder.decode(ByteBuffer.wrap(bytes)).toString()
    } catch (_: CharacterCodingException) {
        throw WrongJson("the text is not UTF-8")
    }
}

/**
 * The document in [text], by RFC 8259 and no more: no NaN, no comments.
 *
 * Objects are maps, lists are lists; whole numbers are Long, or BigInteger where they are larger, others Double.
 * Raises WrongJson.
 */
internal fun parseJson(text: String): Any? = JsonParser(text).document()

private class JsonParser(private val text: String) {
    private var at = 0
    private val builder = StringBuilder()

    fun document(): Any? {
        val found = value(0)
        skipSpace()
        if (at != text.length) fail()
        return found
    }

    private fun fail(): Nothing = throw WrongJson("no JSON at character $at")

    private fun skipSpace() {
        while (at < text.length && text[at] in " \t\n\r") at++
    }

    private fun next(): Char {
        skipSpace()
        return if (at < text.length) text[at] else fail()
    }

    private fun take(letter: Char): Boolean {
        val isThere = next() == letter
        if (isThere) at++
        return isThere
    }

    private fun value(depth: Int): Any? {
        if (depth > MOST_DEPTH) throw WrongJson("the document is nested too deeply")
        return when (next()) {
            '{' -> objectAt(depth)
            '[' -> listAt(depth)
            '"' -> string()
            't' -> word("true", true)
            'f' -> word("false", false)
            'n' -> word("null", null)
            else -> number()
        }
    }

    private fun <T> word(word: String, value: T): T {
        if (!text.startsWith(word, at)) fail()
        at += word.length
        return value
    }

    private fun objectAt(depth: Int): Map<String, Any?> {
        at++
        val found = LinkedHashMap<String, Any?>()
        if (take('}')) return found
        do {
            if (next() != '"') fail()
            val name = string()
            if (!take(':')) fail()
            found[name] = value(depth + 1)
        } while (take(','))
        if (!take('}')) fail()
        return found
    }

    private fun listAt(depth: Int): List<Any?> {
        at++
        val found = ArrayList<Any?>()
        if (take(']')) return found
        do found.add(value(depth + 1)) while (take(','))
        if (!take(']')) fail()
        return found
    }

    private fun string(): String {
        val start = ++at
        while (at < text.length && text[at] != '"' && text[at] != '\\') plain()
        if (at < text.length && text[at] == '"') return text.substring(start, at++)
        builder.setLength(0)
        builder.append(text, start, at)
        while (at < text.length && text[at] != '"') {
            if (text[at] == '\\') escaped() else builder.append(plain())
        }
        if (at++ >= text.length) fail()
        return builder.toString()
    }

    private fun plain(): Char = if (text[at] < ' ') fail() else text[at++]

    private fun escaped() {
        val letter = text.getOrElse(at + 1) { fail() }
        at += 2
        if (letter == 'u') {
            val digits = text.substring(at, minOf(at + 4, text.length))
            if (digits.length < 4 || digits.any { it !in "0123456789abcdefABCDEF" }) fail()
            builder.append(digits.toInt(16).toChar())
            at += 4
            return
        }
        val place = "\"\\/bfnrt".indexOf(letter)
        if (place < 0) fail()
        builder.append("\"\\/\b\u000c\n\r\t"[place])
    }

    private fun number(): Number {
        val start = at
        if (text[at] == '-') at++
        val first = at
        val whole = digits()
        if (whole == 0 || (whole > 1 && text[first] == '0')) fail()
        var isWhole = true
        if (at < text.length && text[at] == '.') {
            isWhole = false
            at++
            if (digits() == 0) fail()
        }
        if (at < text.length && text[at] in "eE") {
            isWhole = false
            at++
            if (at < text.length && text[at] in "+-") at++
            if (digits() == 0) fail()
        }
        val found = text.substring(start, at)
        return when {
            !isWhole -> found.toDouble()
            whole <= LONG_DIGITS -> found.toLong()
            else -> BigInteger(found)
        }
    }

    private fun digits(): Int {
        val start = at
        while (at < text.length && text[at] in '0'..'9') at++
        return at - start
    }

    private companion object {
        const val MOST_DEPTH = 100
        const val LONG_DIGITS = 18
    }
}

/** A value as JSON: maps, iterables, texts, numbers, booleans and null. */
internal fun jsonText(value: Any?): String = StringBuilder().also { writeJson(it, value) }.toString()

private fun writeJson(to: StringBuilder, value: Any?) {
    when (value) {
        null, is Boolean, is Number -> to.append(value)
        is Map<*, *> -> writeAll(to, '{', '}', value.entries) { (name, one) ->
            writeText(to, name.toString())
            to.append(": ")
            writeJson(to, one)
        }
        is Iterable<*> -> writeAll(to, '[', ']', value) { writeJson(to, it) }
        else -> writeText(to, value.toString())
    }
}

private fun <T> writeAll(to: StringBuilder, open: Char, close: Char, all: Iterable<T>, write: (T) -> Unit) {
    to.append(open)
    for ((place, one) in all.withIndex()) {
        if (place > 0) to.append(", ")
        write(one)
    }
    to.append(close)
}

private fun writeText(to: StringBuilder, text: String) {
    to.append('"')
    for (letter in text) {
        when {
            letter == '"' || letter == '\\' -> to.append('\\').append(letter)
            letter < ' ' || letter.isSurrogate() -> to.append("\\u").append(letter.code.toString(16).padStart(4, '0'))
            else -> to.append(letter)
        }
    }
    to.append('"')
}
