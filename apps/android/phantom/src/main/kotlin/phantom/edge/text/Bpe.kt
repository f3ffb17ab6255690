package phantom.edge.text

import phantom.edge.json.Fields
import phantom.edge.json.Node
import phantom.edge.json.WrongJson
import java.util.PriorityQueue

/** Byte-pair encoding of one piece of text, as the model `BPE` of Hugging Face's tokenizers does it. */
internal class Bpe(
    private val vocabulary: Map<String, Int>,
    private val merges: Map<Long, Merge>,
    private val unknown: Int?,
    private val fuseUnknown: Boolean,
    private val byteFallback: Boolean,
    private val ignoreMerges: Boolean,
) {
    class Merge(val rank: Int, val token: Int)

    private class Waiting(val rank: Int, val at: Int, val left: Int, val right: Int, val token: Int)

    private val bytes = IntArray(256) { vocabulary[byteToken(it)] ?: -1 }

    fun id(token: String): Int? = vocabulary[token]

    /** Appends the tokens of a piece. */
    fun encode(piece: String, to: MutableList<Int>) {
        if (piece.isEmpty()) return
        if (ignoreMerges) {
            vocabulary[piece]?.let {
                to.add(it)
                return
            }
        }
        merge(letters(piece), to)
    }

    private fun letters(piece: String): MutableList<Int> {
        val found = ArrayList<Int>(piece.length)
        var waiting: Int? = null
        var at = 0
        while (at < piece.length) {
            val end = piece.offsetByCodePoints(at, 1)
            val letter = piece.substring(at, end)
            at = end
            val id = vocabulary[letter]
            if (id != null) {
                waiting?.let(found::add)
                waiting = null
                found.add(id)
            } else if (!(byteFallback && addBytes(letter, found)) && unknown != null) {
                if (waiting != null && !fuseUnknown) found.add(waiting)
                waiting = unknown
            }
        }
        waiting?.let(found::add)
        return found
    }

    private fun addBytes(letter: String, to: MutableList<Int>): Boolean {
        val tokens = letter.toByteArray().map { bytes[it.toInt() and 255] }
        if (tokens.any { it < 0 }) return false
        to.addAll(tokens)
        return true
    }

    /** Merges pairs, the best first and of equals the leftmost; a queue keeps long texts quick. */
    private fun merge(ids: MutableList<Int>, to: MutableList<Int>) {
        val next = IntArray(ids.size) { it + 1 }
        val previous = IntArray(ids.size) { it - 1 }
        val queue = PriorityQueue<Waiting>(compareBy<Waiting> { it.rank }.thenBy { it.at })
        fun offer(left: Int) {
            val right = if (left < 0) ids.size else next[left]
            if (left < 0 || right >= ids.size) return
            val merge = merges[pair(ids[left], ids[right])] ?: return
            queue.add(Waiting(merge.rank, left, ids[left], ids[right], merge.token))
        }
        for (place in 0 until ids.size - 1) offer(place)
        while (true) {
            val best = queue.poll() ?: break
            val right = next[best.at]
            val isThere = ids[best.at] == best.left && right < ids.size && ids[right] == best.right
            if (!isThere) continue
            ids[best.at] = best.token
            ids[right] = MERGED
            next[best.at] = next[right]
            if (next[right] < ids.size) previous[next[right]] = best.at
            offer(previous[best.at])
            offer(best.at)
        }
        for (id in ids) if (id != MERGED) to.add(id)
    }

    companion object {
        private const val MERGED = -1

        private fun pair(left: Int, right: Int): Long = (left.toLong() shl 32) or right.toLong()

        fun byteToken(byte: Int): String = "<0x${byte.toString(16).uppercase().padStart(2, '0')}>"

        /** Reads `model` of a tokenizer. Raises WrongJson for what is not read exactly. */
        fun read(node: Node): Bpe = node.fields {
            find("type")?.oneOf("BPE")
            refuse("dropout", "continuing_subword_prefix", "end_of_word_suffix")
            val vocabulary = get("vocab").entries().mapValues { it.value.int() }
            val merges = HashMap<Long, Merge>()
            for ((rank, one) in get("merges").list().withIndex()) {
                val (left, right) = if (one.value is String) one.value.split(" ") else one.strings()
                val ids = listOf(left, right, left + right).map {
                    vocabulary[it] ?: throw WrongJson("${one.place} has '$it', which is not in the vocabulary")
                }
                merges[pair(ids[0], ids[1])] = Merge(rank, ids[2])
            }
            Bpe(
                vocabulary,
                merges,
                find("unk_token")?.orNull { vocabulary[string()] },
                find("fuse_unk")?.boolean() ?: false,
                find("byte_fallback")?.boolean() ?: false,
                find("ignore_merges")?.boolean() ?: false,
            )
        }

        /** Refuses settings that are there, and not empty. */
        private fun Fields.refuse(vararg names: String) {
            for (name in names) {
                val one = find(name) ?: continue
                if (one.value != null && one.value != "") throw WrongJson("${one.place} is ${one.value}")
            }
        }
    }
}
