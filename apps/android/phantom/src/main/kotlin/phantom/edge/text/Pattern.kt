package phantom.edge.text

import phantom.edge.json.WrongJson
import java.util.regex.Pattern
import java.util.regex.PatternSyntaxException

/**
 * A regular expression of Oniguruma, which tokenizers are written for, as one of Java.
 *
 * `\s` and `\d` are Unicode's there; Java on a desktop takes ASCII's, and Java on Android takes no flag to change it.
 * So both are written out, as are letters under `(?i:`. Raises WrongJson for syntax that is not known to mean the same.
 */
internal fun translated(pattern: String): Pattern {
    try {
        return Pattern.compile(Translation(pattern).whole())
    } catch (error: PatternSyntaxException) {
        throw WrongJson("the regular expression $pattern is not read here (${error.description})")
    }
}

private const val SPACES =
    "\\t-\\r \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"

private class Translation(private val pattern: String) {
    private val found = StringBuilder()
    private var at = 0

    /** For every open group, whether letters have no case in it. */
    private val groups = ArrayList<Boolean>()

    private val isCaseless get() = groups.lastOrNull() ?: false

    fun whole(): String {
        while (at < pattern.length) {
            when (val letter = pattern[at]) {
                '\\' -> found.append(escaped(isInClass = false))
                '[' -> classAt()
                '(' -> group()
                ')' -> {
                    if (groups.isEmpty()) refuse()
                    groups.removeAt(groups.size - 1)
                    plain()
                }
                '{' -> count()
                '.', '^', '$' -> refuse() // these mean different things in different engines
                else -> if (isCaseless && letter.isLetter()) bothCases() else plain()
            }
        }
        return found.toString()
    }

    private fun refuse(): Nothing = throw WrongJson("the regular expression $pattern is not read here (character $at)")

    private fun plain() {
        found.append(pattern[at++])
    }

    private fun take(text: String): Boolean {
        val isThere = pattern.startsWith(text, at)
        if (isThere) at += text.length
        return isThere
    }

    private fun group() {
        groups.add(isCaseless)
        for (opening in listOf("(?:", "(?!", "(?=", "(?<!", "(?<=")) {
            if (take(opening)) {
                found.append(opening)
                return
            }
        }
        if (take("(?i:")) {
            groups[groups.size - 1] = true
            found.append("(?:")
            return
        }
        if (pattern.startsWith("(?", at)) refuse()
        plain()
    }

    private fun count() {
        val end = pattern.indexOf('}', at)
        val inside = if (end < 0) "" else pattern.substring(at + 1, end)
        if (!Regex("\\d+(,\\d*)?").matches(inside)) refuse()
        found.append('{').append(inside).append('}')
        at = end + 1
    }

    /** A letter in every case that Unicode folds to it. */
    private fun bothCases() {
        val letter = pattern[at++]
        val folded = when (letter.lowercaseChar()) {
            's' -> "sS\u017f"
            'k' -> "kK\u212a"
            in 'a'..'z' -> "${letter.lowercaseChar()}${letter.uppercaseChar()}"
            else -> refuse()
        }
        found.append('[').append(folded).append(']')
    }

    private fun classAt() {
        if (isCaseless) refuse()
        found.append('[')
        at++
        if (take("^")) found.append('^')
        while (true) {
            val letter = pattern.getOrElse(at) { refuse() }
            when {
                letter == ']' -> break
                letter == '[' || pattern.startsWith("&&", at) -> refuse()
                letter == '\\' -> found.append(escaped(isInClass = true))
                else -> plain()
            }
        }
        plain()
    }

    private fun escaped(isInClass: Boolean): String {
        val letter = pattern.getOrElse(at + 1) { refuse() }
        if (letter == 'p' || letter == 'P') return property()
        at += 2
        fun spelled(inside: String) = if (isInClass) inside else "[$inside]"
        return when (letter) {
            's' -> spelled(SPACES)
            'S' -> if (isInClass) refuse() else "[^$SPACES]"
            'd' -> spelled("\\p{Nd}")
            'r', 'n', 't', 'f' -> "\\$letter"
            'A', 'z' -> if (isInClass) refuse() else "\\$letter"
            else -> if (letter.isLetterOrDigit()) refuse() else "\\$letter"
        }
    }

    private fun property(): String {
        val end = pattern.indexOf('}', at)
        val name = if (end < 0) "" else pattern.substring(at, end + 1)
        if (!Regex("\\\\[pP]\\{(L[ultmo]?|N[dlo]?|M[nce]?|P[cdseifo]?|S[mcko]?|Z[slp]?|C[cfson]?)\\}").matches(name)) {
            refuse()
        }
        at = end + 1
        return name
    }
}
