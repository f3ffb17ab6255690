// From pixels to tiles, by the rules under "pictures" in phantom.json. Needs org.json, which Android has.
import kotlin.math.abs
import kotlin.math.max
import kotlin.math.min
import kotlin.math.sign
import org.json.JSONObject

/** Opaque pixels: R, G and B of each in 8 bits, row by row. */
class Picture(val width: Int, val height: Int, val rgb: ByteArray)

fun JSONObject.numbers(name: String): List<Double> =
    getJSONArray(name).let { all -> List(all.length(), all::getDouble) }

/** A channel over the background. */
fun blended(value: Int, alpha: Int, background: Int) =
    ((value * alpha + background * (255 - alpha)) / 255.0 + 0.5).toInt()

/** The picture turned upright by its EXIF orientation, 1 to 8. */
fun Picture.upright(orientation: Int): Picture {
    val isTurned = orientation in 5..8
    val wide = if (isTurned) height else width
    val high = if (isTurned) width else height
    val target = ByteArray(rgb.size)
    for (y in 0 until high) for (x in 0 until wide) {
        val across = if (isTurned) y else x
        val down = if (isTurned) x else y
        val column = if (orientation in listOf(2, 3, 7, 8)) width - 1 - across else across
        val row = if (orientation in listOf(3, 4, 6, 7)) height - 1 - down else down
        for (channel in 0..2) target[3 * (y * wide + x) + channel] = rgb[3 * (row * width + column) + channel]
    }
    return Picture(wide, high, target)
}

/** For each of `to` pixels: the first of its `from` pixels, and their integer weights. */
private fun weights(from: Int, to: Int, rules: JSONObject): List<Pair<Int, IntArray>> {
    val a = rules.getDouble("cubic_a")
    val one = (1 shl rules.getInt("fractional_bits")).toDouble()
    val scale = from.toDouble() / to
    val stretch = max(scale, 1.0)
    fun cubic(x: Double) = when {
        x < 1 -> ((a + 2) * x - (a + 3)) * x * x + 1
        x < 2 -> (((x - 5) * x + 8) * x - 4) * a
        else -> 0.0
    }
    return List(to) {
        val center = (it + 0.5) * scale
        val first = max((center - 2 * stretch + 0.5).toInt(), 0)
        val end = min((center + 2 * stretch + 0.5).toInt(), from)
        val real = DoubleArray(end - first) { place -> cubic(abs((first + place - center + 0.5) * (1 / stretch))) }
        val sum = real.sum()
        first to IntArray(real.size) { place -> (real[place] / sum * one + sign(real[place]) * 0.5).toInt() }
    }
}

/** Pixels resampled along one axis; steps and strides are bytes between pixels of a line, and between lines. */
private fun resampled(
    source: ByteArray, from: Int, to: Int, lines: Int,
    step: Int, stride: Int, newStep: Int, newStride: Int, rules: JSONObject,
): ByteArray {
    if (from == to) return source
    val shift = rules.getInt("fractional_bits")
    val target = ByteArray(3 * lines * to)
    weights(from, to, rules).forEachIndexed { place, (first, weights) ->
        for (line in 0 until lines) for (channel in 0..2) {
            var sum = 1 shl (shift - 1)
            var at = line * stride + first * step + channel
            for (weight in weights) {
                sum += weight * (source[at].toInt() and 255)
                at += step
            }
            target[line * newStride + place * newStep + channel] = (sum shr shift).coerceIn(0, 255).toByte()
        }
    }
    return target
}

/** The picture in another size, resampled horizontally first. */
fun Picture.resized(wide: Int, high: Int, rules: JSONObject): Picture {
    val across = resampled(rgb, width, wide, height, 3, 3 * width, 3, 3 * wide, rules)
    return Picture(wide, high, resampled(across, height, high, wide, 3 * wide, 3, 3 * wide, 3, rules))
}

/** Tiles of 8 bits (3, side, side): the grid's, row by row, and the thumbnail. */
fun Picture.tiles(rules: JSONObject): List<ByteArray> {
    val side = rules.getInt("tile_size")
    val grids = rules.getJSONArray("grids")
    var nearest = Double.POSITIVE_INFINITY
    var columns = 1
    var rows = 1
    for (number in 0 until grids.length()) {
        val (wide, high) = grids.getJSONArray(number).let { it.getInt(0) to it.getInt(1) }
        val distance = abs(width.toDouble() / height - wide.toDouble() / high)
        val isLarger = width.toDouble() * height > rules.getDouble("tie_area") * side * side * wide * high
        if (distance < nearest || (distance == nearest && isLarger)) {
            nearest = distance
            columns = wide
            rows = high
        }
    }
    fun cut(from: Picture, left: Int, top: Int) = ByteArray(3 * side * side) {
        val y = it / side % side
        from.rgb[3 * ((top + y) * from.width + left + it % side) + it / (side * side)]
    }
    val resizing = rules.getJSONObject("resizing")
    val whole = resized(columns * side, rows * side, resizing)
    val tiles = List(columns * rows) { cut(whole, it % columns * side, it / columns * side) }
    val hasThumbnail = rules.getBoolean("thumbnail") && tiles.size > 1
    return if (hasThumbnail) tiles + cut(resized(side, side, resizing), 0, 0) else tiles
}

/** A tile as the graph's input, where the graph does not normalize it itself. */
fun normalized(tile: ByteArray, rules: JSONObject): FloatArray {
    val mean = rules.numbers("mean").map { it.toFloat() }
    val std = rules.numbers("std").map { it.toFloat() }
    val area = tile.size / 3
    return FloatArray(tile.size) { ((tile[it].toInt() and 255) / 255f - mean[it / area]) / std[it / area] }
}
