package phantom.edge.pictures

import phantom.edge.PhantomError
import phantom.edge.Picture
import phantom.edge.bundle.Pictures
import phantom.edge.bundle.hexadecimal
import phantom.edge.bundle.sha256
import java.security.MessageDigest
import kotlin.math.abs

private const val MOST_BYTES_BETWEEN_PASSES = 3L shl 26

/** Tiles of a picture: R, G, B of each pixel, row by row. [digest] is that of all of them. */
internal class Tiles(val grid: Grid, val tiles: List<ByteArray>) {
    val digest: String = MessageDigest.getInstance("SHA-256").let { all ->
        tiles.forEach(all::update)
        hexadecimal(all.digest())
    }

    fun hashes(): List<String> = tiles.map { sha256(it) }
}

internal data class Grid(val columns: Int, val rows: Int)

/** The grid of a picture: the nearest ratio, of equally near ones a larger one where the picture fills half of it. */
internal fun chooseGrid(width: Int, height: Int, rules: Pictures): Grid {
    var best = Grid(1, 1)
    var nearest = Double.POSITIVE_INFINITY
    val pixels = width.toDouble() * height
    for ((columns, rows) in rules.grids.map { it[0] to it[1] }) {
        val distance = abs(width.toDouble() / height - columns.toDouble() / rows)
        val area = rules.tieArea * rules.tileSize * rules.tileSize * columns * rows
        if (distance < nearest || (distance == nearest && pixels > area)) {
            nearest = distance
            best = Grid(columns, rows)
        }
    }
    return best
}

/** Cuts a picture into tiles, by the rules of a manifest. */
internal fun cutTiles(picture: Picture, rules: Pictures): Tiles {
    val side = rules.tileSize
    val grid = chooseGrid(picture.width, picture.height, rules)
    val wide = grid.columns * side
    if (3L * wide * picture.height > MOST_BYTES_BETWEEN_PASSES) {
        throw PhantomError.BadPicture(
            "a picture of ${picture.width} x ${picture.height} is too tall to tile",
            "crop it or make it smaller first",
        )
    }
    val pixels = picture.over(rules.background)
    val whole = resized(pixels, picture.width, picture.height, wide, grid.rows * side)
    val tiles = ArrayList<ByteArray>()
    for (row in 0 until grid.rows) {
        for (column in 0 until grid.columns) {
            val tile = ByteArray(3 * side * side)
            for (line in 0 until side) {
                val from = 3 * ((row * side + line) * wide + column * side)
                whole.copyInto(tile, 3 * line * side, from, from + 3 * side)
            }
            tiles.add(tile)
        }
    }
    if (rules.thumbnail && tiles.size > 1) tiles.add(resized(pixels, picture.width, picture.height, side, side))
    return Tiles(grid, tiles)
}

/** A tile as numbers (3, rows, columns): value / 255, minus mean, by std, each step in float32. */
internal fun normalized(tile: ByteArray, rules: Pictures): FloatArray {
    val area = tile.size / 3
    val values = Array(3) { channel ->
        FloatArray(256) { (it / 255f - rules.mean[channel]) / rules.std[channel] }
    }
    return FloatArray(tile.size) { values[it / area][tile[it % area * 3 + it / area].toInt() and 255] }
}
