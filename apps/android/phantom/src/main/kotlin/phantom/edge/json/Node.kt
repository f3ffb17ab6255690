package phantom.edge.json

import kotlin.math.abs

/** A value of a document, and its place. Every reading raises WrongJson where the value is another one. */
internal class Node(val place: String, val value: Any?) {
    val isNull: Boolean get() = value == null

    fun string(): String = value as? String ?: wrong("string")

    fun boolean(): Boolean = value as? Boolean ?: wrong("boolean")

    fun long(): Long {
        if (value !is Number || value is Double) wrong("integer")
        if (value !is Long || abs(value) >= MOST_WHOLE) throw WrongJson("$place is larger than 53 bits hold")
        return value
    }

    fun int(): Int {
        val found = long()
        if (found != found.toInt().toLong()) throw WrongJson("$place is $found, which is impossible")
        return found.toInt()
    }

    fun double(): Double = when (value) {
        is Double -> value
        is Number -> long().toDouble()
        else -> wrong("number")
    }

    fun oneOf(vararg names: String): String =
        string().also { if (it !in names) throw WrongJson("$place is '${shown()}', not ${names.joinToString(" or ")}") }

    fun list(): List<Node> {
        val found = value as? List<*> ?: throw WrongJson("$place is no list")
        return found.mapIndexed { number, one -> Node("$place[$number]", one) }
    }

    fun ints(): IntArray = list().let { all -> IntArray(all.size) { all[it].int() } }

    fun doubles(): DoubleArray = list().let { all -> DoubleArray(all.size) { all[it].double() } }

    fun strings(): List<String> = list().map { it.string() }

    fun entries(): Map<String, Node> {
        val found = value as? Map<*, *> ?: throw WrongJson("${place.ifEmpty { "the document" }} is no object")
        return found.entries.associate { (name, one) -> (name as String) to Node(inside(name), one) }
    }

    /** Reads an object: [read] takes its fields, and fields that it does not take are refused. */
    fun <T> fields(read: Fields.() -> T): T {
        val fields = Fields(this, entries())
        val found = fields.read()
        fields.refuseOthers()
        return found
    }

    fun <T> orNull(read: Node.() -> T): T? = if (isNull) null else read()

    /** The place of a field. */
    fun inside(name: String): String = if (place.isEmpty()) name else "$place.$name"

    private fun wrong(kind: String): Nothing = throw WrongJson("$place is ${shown()}, not $kind")

    private fun shown() = value.toString().take(SHOWN)

    private companion object {
        const val MOST_WHOLE = 1L shl 53
        const val SHOWN = 60
    }
}

/** The fields of an object. */
internal class Fields(private val node: Node, private val entries: Map<String, Node>) {
    private val taken = HashSet<String>()

    /** A field that must be there. */
    operator fun get(name: String): Node = find(name) ?: throw WrongJson("${node.inside(name)} is missing")

    /** A field, or null where it is absent. */
    fun find(name: String): Node? {
        taken.add(name)
        return entries[name]
    }

    /** Skips fields that a reader does not need. */
    fun skip(vararg names: String) {
        for (name in names) find(name)
    }

    fun refuseOthers() {
        for ((name, one) in entries) if (name !in taken) throw WrongJson("${one.place} is not known")
    }

    /** Raises WrongJson that names the first rule that does not hold. */
    fun rules(vararg rules: Pair<String, Boolean>) {
        for ((name, holds) in rules) {
            if (!holds) throw WrongJson("${node.inside(name)} is impossible")
        }
    }
}
