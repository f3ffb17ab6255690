package phantom.edge.text

import phantom.edge.PhantomError
import phantom.edge.json.Fields
import phantom.edge.json.Node
import phantom.edge.json.WrongJson
import phantom.edge.json.parseJson
import phantom.edge.json.strictText
import java.io.File
import java.io.IOException

/**
 * A `tokenizer.json` of Hugging Face's tokenizers: byte-pair encoding of bytes, or SentencePiece's with single bytes for
 * letters that it lacks. No special tokens are added around a text.
 */
internal class Tokenizer private constructor(
    private val bpe: Bpe,
    tokens: Map<Int, String>,
    added: List<AddedToken>,
    private val normalizers: List<Rewriting>,
    private val cuttings: List<Cutting>,
    private val joinings: List<Joining>,
) {
    private val special: Set<String> = added.filter { it.special }.map { it.content }.toSet()
    private val asWritten = AddedTokens(added.filterNot { it.normalized }.map { it.content to it })
    private val asNormalized = AddedTokens(added.filter { it.normalized }.map { normalize(it.content) to it })

    /** Texts of tokens, where those of added ones are as they are found: normalized, if that comes first. */
    private val texts: Map<Int, String> =
        tokens + added.associate { it.id to if (it.normalized) normalize(it.content) else it.content }

    private fun normalize(text: String): String = normalizers.fold(text) { found, step -> step(found) }

    fun encode(text: String): IntArray {
        val ids = ArrayList<Int>()
        for (outer in asWritten.split(text)) {
            if (outer.token != null) {
                ids.add(outer.token)
                continue
            }
            for (span in asNormalized.split(normalize(outer.text))) {
                if (span.token != null) ids.add(span.token) else encodePlain(span.text, ids)
            }
        }
        return ids.toIntArray()
    }

    private fun encodePlain(text: String, to: MutableList<Int>) {
        val pieces = cuttings.fold(listOf(text)) { found, cut -> found.flatMap(cut) }
        for (piece in pieces) bpe.encode(piece, to)
    }

    /** The text of [ids] together, without special tokens. */
    fun decode(ids: List<Int>): String {
        val found = ids.mapNotNull { texts[it] }.filter { it !in special }
        if (joinings.isEmpty()) return found.joinToString(" ")
        return joinings.fold(found) { texts, join -> join(texts) }.joinToString("")
    }

    fun token(id: Int): String? = texts[id]

    fun id(token: String): Int? = bpe.id(token)

    companion object {
        /** Reads a file. Raises PhantomError where it is damaged, or has a part that is not read exactly. */
        fun read(file: File): Tokenizer {
            val document = try {
                parseJson(strictText(file.readBytes()))
            } catch (error: WrongJson) {
                throw PhantomError.DamagedBundle("$file is no tokenizer (${error.message})", cause = error)
            } catch (error: IOException) {
                throw PhantomError.DamagedBundle("$file cannot be read (${error.message})", cause = error)
            }
            try {
                return Node("", document).fields { tokenizer() }
            } catch (error: WrongJson) {
                throw PhantomError.Unsupported(
                    "$file is no tokenizer that this library reads: ${error.message}",
                    "run the bundle with phantom-edge, or ask for support of this part",
                )
            }
        }

        private fun Fields.tokenizer(): Tokenizer {
            skip("version", "post_processor") // which adds special tokens, and none are added
            for (name in listOf("truncation", "padding")) {
                if (find(name)?.isNull == false) throw WrongJson("$name is not null")
            }
            val added = find("added_tokens")?.orNull { list().map(AddedToken::read) } ?: listOf()
            val model = get("model")
            val vocabulary = model.entries()["vocab"]?.entries() ?: throw WrongJson("model.vocab is missing")
            val tokens = HashMap<Int, String>()
            for ((token, id) in vocabulary) tokens[id.int()] = token
            return Tokenizer(
                Bpe.read(model),
                tokens,
                added,
                normalizersOf(get("normalizer")),
                cuttingsOf(get("pre_tokenizer")),
                joiningsOf(get("decoder")),
            )
        }
    }
}
