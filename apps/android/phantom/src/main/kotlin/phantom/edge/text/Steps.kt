package phantom.edge.text

import phantom.edge.json.Fields
import phantom.edge.json.Node
import phantom.edge.json.WrongJson
import java.text.Normalizer
import java.util.regex.Matcher
import java.util.regex.Pattern

/** A step from a text to another one. */
internal typealias Rewriting = (String) -> String

/** A step from pieces of a text to smaller ones. */
internal typealias Cutting = (String) -> List<String>

/** A step from tokens to their texts. */
internal typealias Joining = (List<String>) -> List<String>

private fun unknown(node: Node, kind: String): Nothing = throw WrongJson("${node.place} is of type $kind")

/** Reads the steps of a `Sequence`, or the only one. */
private fun <T> stepsOf(node: Node, list: String, read: (Node) -> T): List<T> {
    if (node.isNull) return listOf()
    if (node.entries()["type"]?.value != "Sequence") return listOf(read(node))
    return node.fields {
        skip("type")
        get(list).list().flatMap { stepsOf(it, list, read) }
    }
}

internal fun normalizersOf(node: Node): List<Rewriting> = stepsOf(node, "normalizers") { one ->
    one.fields {
        when (val kind = get("type").string()) {
            "NFC", "NFD", "NFKC", "NFKD" -> unicode(Normalizer.Form.valueOf(kind))
            "Prepend" -> get("prepend").string().let { front -> { if (it.isEmpty()) it else front + it } }
            "Replace" -> replacement()
            else -> unknown(one, kind)
        }
    }
}

private fun unicode(form: Normalizer.Form): Rewriting = { Normalizer.normalize(it, form) }

/** `pattern`: a text or a regular expression. */
private fun Fields.pattern(): Pattern {
    val entries = get("pattern").entries()
    val name = entries.keys.singleOrNull()
    return when (name) {
        "String" -> Pattern.compile(Pattern.quote(entries.getValue(name).string()))
        "Regex" -> translated(entries.getValue(name).string())
        else -> throw WrongJson("pattern is neither a text nor a regular expression")
    }
}

private fun Fields.replacement(): Rewriting {
    val pattern = pattern()
    val content = Matcher.quoteReplacement(get("content").string())
    return { pattern.matcher(it).replaceAll(content) }
}

internal fun cuttingsOf(node: Node): List<Cutting> = stepsOf(node, "pretokenizers") { one ->
    one.fields {
        when (val kind = get("type").string()) {
            "ByteLevel" -> byteLevel()
            "Split" -> {
                get("behavior").oneOf("Isolated")
                if (get("invert").boolean()) throw WrongJson("${one.place}.invert is true")
                isolated(pattern())
            }
            else -> unknown(one, kind)
        }
    }
}

private fun Fields.byteLevel(): Cutting {
    skip("trim_offsets")
    val addsSpace = get("add_prefix_space").boolean()
    val words = if (find("use_regex")?.boolean() ?: true) isolated(translated(WORDS)) else { text -> listOf(text) }
    return { text ->
        val whole = if (addsSpace && text.isNotEmpty() && !text.startsWith(" ")) " $text" else text
        words(whole).map(ByteLetters::spell)
    }
}

/** GPT-2's rule for words, which `ByteLevel` applies by itself. */
private const val WORDS = """'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""

/** Matches become pieces, and so does what lies between them. */
private fun isolated(pattern: Pattern): Cutting = { text ->
    val found = ArrayList<String>()
    val matcher = pattern.matcher(text)
    var end = 0
    while (matcher.find()) {
        if (matcher.start() > end) found.add(text.substring(end, matcher.start()))
        if (matcher.end() > matcher.start()) found.add(matcher.group())
        end = matcher.end()
    }
    if (end < text.length) found.add(text.substring(end))
    found
}

internal fun joiningsOf(node: Node): List<Joining> = stepsOf(node, "decoders") { one ->
    one.fields {
        when (val kind = get("type").string()) {
            "ByteLevel" -> {
                skip("add_prefix_space", "trim_offsets", "use_regex")
                ({ tokens -> listOf(ByteLetters.read(tokens)) })
            }
            "ByteFallback" -> ::bytesToLetters
            "Fuse" -> ({ tokens -> listOf(tokens.joinToString("")) })
            "Replace" -> replacement().let { replace -> { tokens -> tokens.map(replace) } }
            "Strip" -> strip()
            else -> unknown(one, kind)
        }
    }
}

private fun Fields.strip(): Joining {
    val content = get("content").string().single()
    val start = get("start").int()
    val stop = get("stop").int()
    return { tokens ->
        tokens.map { token ->
            val first = token.take(start).takeWhile { it == content }.length
            val last = token.drop(first).takeLast(stop).takeLastWhile { it == content }.length
            token.substring(first, token.length - last)
        }
    }
}

private val BYTE_TOKEN = Regex("<0x[0-9A-Fa-f]{2}>")

/** Tokens of single bytes become letters; where they are no UTF-8, each becomes U+FFFD. */
private fun bytesToLetters(tokens: List<String>): List<String> {
    val found = ArrayList<String>()
    val bytes = ArrayList<Byte>()
    fun flush() {
        if (bytes.isEmpty()) return
        val text = textOrNull(bytes.toByteArray())
        if (text != null) found.add(text) else repeat(bytes.size) { found.add(REPLACEMENT.toString()) }
        bytes.clear()
    }
    for (token in tokens) {
        if (BYTE_TOKEN.matches(token)) {
            bytes.add(token.substring(3, 5).toInt(16).toByte())
        } else {
            flush()
            found.add(token)
        }
    }
    flush()
    return found
}

/** GPT-2's letters for bytes: those that can be printed stand for themselves, the others for letters from 256 on. */
internal object ByteLetters {
    private val letters: CharArray
    private val bytes = HashMap<Char, Byte>()

    init {
        var next = 256
        letters = CharArray(256) { byte ->
            val isPrinted = byte in 0x21..0x7e || byte in 0xa1..0xac || byte in 0xae..0xff
            if (isPrinted) byte.toChar() else (next++).toChar()
        }
        for ((byte, letter) in letters.withIndex()) bytes[letter] = byte.toByte()
    }

    fun spell(text: String): String {
        val found = text.toByteArray()
        return String(CharArray(found.size) { letters[found[it].toInt() and 255] })
    }

    /** The text of tokens; one that is not written in these letters stands for itself. */
    fun read(tokens: List<String>): String {
        val found = ArrayList<Byte>()
        for (token in tokens) {
            val own = token.map { bytes[it] }
            if (null in own) token.toByteArray().forEach(found::add) else own.forEach { found.add(it!!) }
        }
        return lossyText(found.toByteArray())
    }
}
