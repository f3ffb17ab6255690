// From a picture's file to tiles, by the rules under "pictures" in phantom.json.
import CoreGraphics
import Foundation
import ImageIO

/// Opaque, upright pixels: R, G and B of each in 8 bits, row by row.
struct Picture {
    var width: Int
    var height: Int
    var rgb: [UInt8]
}

struct Pictures: Decodable {
    struct Decoding: Decodable { var background: [Int] }
    struct Resizing: Decodable { var cubic_a: Double; var fractional_bits: Int }
    var tile_size: Int
    var grids: [[Int]]
    var tie_area: Double
    var thumbnail: Bool
    var mean: [Float]
    var std: [Float]
    var tokens_per_tile: Int
    var decoding: Decoding
    var resizing: Resizing
}

struct Problem: Error { var text: String }

extension Pictures {
    /// A picture's pixels, drawn into its own RGB space, so that no colour management changes them.
    func decoded(_ file: URL) throws -> Picture {
        guard let source = CGImageSourceCreateWithURL(file as CFURL, nil),
            let image = CGImageSourceCreateImageAtIndex(source, 0, nil)
        else { throw Problem(text: "\(file.path) is no picture") }
        let width = image.width, height = image.height
        var rgba = [UInt8](repeating: 0, count: 4 * width * height)
        let own = image.colorSpace.flatMap { $0.model == .rgb ? $0 : nil }
        guard let context = CGContext(
            data: &rgba, width: width, height: height, bitsPerComponent: 8, bytesPerRow: 4 * width,
            space: own ?? CGColorSpaceCreateDeviceRGB(), bitmapInfo: CGImageAlphaInfo.premultipliedLast.rawValue)
        else { throw Problem(text: "\(file.path) has pixels of another kind") }
        let back = decoding.background.map { CGFloat($0) / 255 } + [1]
        context.setFillColor(CGColor(colorSpace: context.colorSpace!, components: back)!)
        context.fill(CGRect(x: 0, y: 0, width: width, height: height))
        context.draw(image, in: CGRect(x: 0, y: 0, width: width, height: height))
        context.flush()
        var rgb = [UInt8](repeating: 0, count: 3 * width * height)
        for place in rgb.indices { rgb[place] = rgba[place / 3 * 4 + place % 3] }
        let about = CGImageSourceCopyPropertiesAtIndex(source, 0, nil) as? [CFString: Any]
        let orientation = about?[kCGImagePropertyOrientation] as? Int ?? 1
        return upright(Picture(width: width, height: height, rgb: rgb), orientation)
    }

    /// A picture turned upright by its EXIF orientation, 1 to 8.
    private func upright(_ picture: Picture, _ orientation: Int) -> Picture {
        let isTurned = orientation >= 5
        let wide = isTurned ? picture.height : picture.width, high = isTurned ? picture.width : picture.height
        var target = Picture(width: wide, height: high, rgb: picture.rgb)
        for y in 0..<high {
            for x in 0..<wide {
                let across = isTurned ? y : x, down = isTurned ? x : y
                let column = [2, 3, 7, 8].contains(orientation) ? picture.width - 1 - across : across
                let row = [3, 4, 6, 7].contains(orientation) ? picture.height - 1 - down : down
                for channel in 0..<3 {
                    target.rgb[3 * (y * wide + x) + channel] = picture.rgb[3 * (row * picture.width + column) + channel]
                }
            }
        }
        return target
    }

    /// For each of `to` pixels: the first of its `from` pixels, and their integer weights.
    private func weights(_ from: Int, _ to: Int) -> [(Int, [Int])] {
        let a = resizing.cubic_a, scale = Double(from) / Double(to), stretch = max(scale, 1)
        func cubic(_ x: Double) -> Double {
            if x < 1 { return ((a + 2) * x - (a + 3)) * x * x + 1 }
            return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0
        }
        return (0..<to).map { place in
            let center = (Double(place) + 0.5) * scale
            let first = max(Int(center - 2 * stretch + 0.5), 0), end = min(Int(center + 2 * stretch + 0.5), from)
            let real = (first..<end).map { cubic(abs((Double($0) - center + 0.5) * (1 / stretch))) }
            let sum = real.reduce(0, +), one = Double(1 << resizing.fractional_bits)
            return (first, real.map { Int(($0 / sum * one).rounded(.toNearestOrAwayFromZero)) })
        }
    }

    /// Pixels resampled along one axis; steps and strides are bytes between pixels of a line, and between lines.
    private func resampled(
        _ source: [UInt8], _ from: Int, _ to: Int, lines: Int, step: Int, stride: Int, newStep: Int, newStride: Int
    ) -> [UInt8] {
        if from == to { return source }
        var target = [UInt8](repeating: 0, count: 3 * lines * to)
        let shift = resizing.fractional_bits
        for (place, (first, weights)) in weights(from, to).enumerated() {
            for line in 0..<lines {
                for channel in 0..<3 {
                    var sum = 1 << (shift - 1), at = line * stride + first * step + channel
                    for weight in weights {
                        sum += weight * Int(source[at])
                        at += step
                    }
                    target[line * newStride + place * newStep + channel] = UInt8(min(max(sum >> shift, 0), 255))
                }
            }
        }
        return target
    }

    /// A picture in another size, resampled horizontally first.
    private func resized(_ it: Picture, _ wide: Int, _ high: Int) -> Picture {
        let across = resampled(
            it.rgb, it.width, wide, lines: it.height, step: 3, stride: 3 * it.width, newStep: 3, newStride: 3 * wide)
        let down = resampled(
            across, it.height, high, lines: wide, step: 3 * wide, stride: 3, newStep: 3 * wide, newStride: 3)
        return Picture(width: wide, height: high, rgb: down)
    }

    /// Tiles of 8 bits (3, side, side): the grid's, row by row, and the thumbnail.
    func tiles(_ picture: Picture) -> [[UInt8]] {
        let side = tile_size, ratio = Double(picture.width) / Double(picture.height)
        var nearest = Double.infinity, columns = 1, rows = 1
        for grid in grids {
            let distance = abs(ratio - Double(grid[0]) / Double(grid[1]))
            let isLarger = Double(picture.width * picture.height) > tie_area * Double(side * side * grid[0] * grid[1])
            if distance < nearest || (distance == nearest && isLarger) {
                (nearest, columns, rows) = (distance, grid[0], grid[1])
            }
        }
        func cut(_ from: Picture, _ left: Int, _ top: Int) -> [UInt8] {
            (0..<3 * side * side).map { place in
                let channel = place / (side * side), y = place / side % side, x = place % side
                return from.rgb[3 * ((top + y) * from.width + left + x) + channel]
            }
        }
        let whole = resized(picture, columns * side, rows * side)
        var tiles = (0..<columns * rows).map { cut(whole, $0 % columns * side, $0 / columns * side) }
        if thumbnail && tiles.count > 1 { tiles.append(cut(resized(picture, side, side), 0, 0)) }
        return tiles
    }

    /// A tile as the graph's input, where the graph does not normalize it itself.
    func normalized(_ tile: [UInt8]) -> [Float] {
        let area = tile.count / 3
        return tile.indices.map { (Float(tile[$0]) / 255 - mean[$0 / area]) / std[$0 / area] }
    }
}
