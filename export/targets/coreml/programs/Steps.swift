// The loop around functions of fixed shapes: padded chunks, masks, rotations, and the cache. By phantom.json.
import Foundation
import Tokenizers

/// Numbers of an array, row after row.
struct Numbers {
    var values: [Float16]
    var shape: [Int]
}

/// The functions of a bundle, in the runtime that has them; state, where there is any, is their own.
protocol Functions {
    func run(_ part: String, _ inputs: [String: Numbers], start: Int?) async throws -> [String: Numbers]
}

/// The decoder and its cache: state of the functions (gpu), or arrays that are inputs (ane).
final class TextDecoder {
    let manifest: Manifest
    let functions: Functions
    let isState: Bool
    let rotary: [Float]
    var pasts: [String: Numbers] = [:]
    var filled = 0

    init(_ bundle: URL, _ manifest: Manifest, _ functions: Functions) throws {
        (self.manifest, self.functions) = (manifest, functions)
        isState = manifest.facts.compute == "gpu"
        let file = bundle.appendingPathComponent(manifest.facts.rotary!)
        rotary = try Data(contentsOf: file).withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
        for port in manifest.parts["decoder"]!.inputs where port.name.hasPrefix("past_") {
            let shape = port.shape.map { $0.size! }
            pasts[port.name] = Numbers(values: Array(repeating: 0, count: shape.reduce(1, *)), shape: shape)
        }
    }

    private func shape(_ part: String, _ name: String) -> [Int] {
        manifest.parts[part]!.inputs.first { $0.name == name }!.shape.map { $0.size! }
    }

    /// Rows as an array of a port's shape: as they are, or, for the Neural Engine, as columns.
    private func array(_ rows: [[Float]], _ part: String, _ name: String) -> Numbers {
        let count = rows.count, width = rows[0].count
        let values = (0..<count * width).map {
            Float16(isState ? rows[$0 / width][$0 % width] : rows[$0 % count][$0 / count])
        }
        return Numbers(values: values, shape: shape(part, name))
    }

    /// An output as rows.
    private func rows(_ found: Numbers, _ count: Int) -> [[Float]] {
        let width = found.values.count / count
        return (0..<count).map { row in
            (0..<width).map { Float(found.values[isState ? row * width + $0 : $0 * count + row]) }
        }
    }

    func imageTokens(_ tile: [UInt8]) async throws -> [[Float]] {
        let pixels = manifest.pictures.normalized(tile).map { Float16($0) }
        let input = Numbers(values: pixels, shape: shape("vision", "pixel_values"))
        let found = try await functions.run("vision", ["pixel_values": input], start: nil)
        return rows(found["image_tokens"]!, manifest.pictures.tokens_per_tile)
    }

    /// Runs `tokens` rows, of which the real ones enter the cache; the last one is repeated to fill the others.
    private func step(_ part: String, _ real: ArraySlice<[Float]>, _ tokens: Int) async throws -> [String: Numbers] {
        let start = filled, context = manifest.cache.max_context, half = rotary.count / 2 / context
        let padded = Array(real) + Array(repeating: real.last!, count: tokens - real.count)
        let places = (start..<start + tokens).map { min($0, context - 1) }
        let tables = [0, 1].map { table in
            places.map { Array(rotary[(table * context + $0) * half..<(table * context + $0 + 1) * half]) }
        }
        let keys = Array(0..<context) + (isState ? [] : Array(start..<start + tokens))
        let mask = (start..<start + tokens).map { own in
            keys.enumerated().map { place, key -> Float in
                var attends = key <= own && (isState || place >= context || key < start)
                if let window = manifest.facts.window { attends = attends && key > own - window }
                return attends ? 0 : manifest.facts.masked!
            }
        }
        var inputs = pasts
        for (name, rows) in ["inputs_embeds": padded, "cosines": tables[0], "sines": tables[1], "mask": mask] {
            inputs[name] = array(rows, part, name)
        }
        let found = try await functions.run(part, inputs, start: isState ? start : nil)
        for name in pasts.keys {
            write(found["new_" + name.dropFirst("past_".count)]!.values, name, real.count, tokens)
        }
        filled += real.count
        return found
    }

    /// Copies new rows of real tokens into the cache: keys (1, places, heads, width), values (1, width, heads, places).
    private func write(_ new: [Float16], _ name: String, _ real: Int, _ tokens: Int) {
        let isKey = name.hasPrefix("past_key"), width = new.count / tokens, context = manifest.cache.max_context
        for token in 0..<real {
            for number in 0..<width {
                let place = isKey ? (filled + token) * width + number : number * context + filled + token
                pasts[name]!.values[place] = new[isKey ? token * width + number : number * tokens + token]
            }
        }
    }

    /// Appends rows to the cache; returns the logits behind the last one.
    func forward(_ all: [[Float]]) async throws -> [Float] {
        var left = all[...], last: [String: Numbers] = [:]
        let chunk = manifest.prefill_chunk
        while !left.isEmpty {
            let real = left.prefix(chunk)
            if real.count > 1, filled + chunk <= manifest.cache.max_context {
                let hidden = rows(try await step("prefill", real, chunk)["hidden"]!, chunk)[real.count - 1]
                left = left.dropFirst(real.count)
                if left.isEmpty {
                    last = try await functions.run("head", ["hidden": array([hidden], "head", "hidden")], start: nil)
                }
            } else {  // a whole chunk does not fit into the rest of the cache, or one token is left
                last = try await step("decoder", left.prefix(1), 1)
                left = left.dropFirst()
            }
        }
        let names = last.keys.filter { $0.hasPrefix("logits") }.sorted { ($0.count, $0) < ($1.count, $1) }
        return Array(names.flatMap { rows(last[$0]!, 1)[0] }.prefix(manifest.embedding!.rows))
    }
}

/// Answers greedily with at most `most` tokens.
func answer(
    _ functions: Functions, bundle: URL, picture: URL, question: String, most: Int = 256
) async throws -> String {
    let manifest = try Manifest(bundle: bundle)
    let (prompt, context) = (manifest.prompt, manifest.cache.max_context)
    let decoder = try TextDecoder(bundle, manifest, functions)
    var seen: [[Float]] = []
    for tile in manifest.pictures.tiles(try manifest.pictures.decoded(picture)) {
        seen += try await decoder.imageTokens(tile)
    }
    let tokenizer = try prompt.loadTokenizer(bundle)
    let ids = try prompt.ids(question, imageTokens: seen.count, tokenizer)
    if ids.count >= context { throw Problem(text: "this prompt is too long") }
    let rows = try manifest.embedding!.load(bundle)
    var image = seen.makeIterator()
    var logits = try await decoder.forward(ids.map { $0 == prompt.image_token ? image.next()! : rows[$0] })
    var tokens: [Int] = []
    while let token = logits.indices.max(by: { logits[$0] < logits[$1] }), !prompt.stop_tokens.contains(token) {
        tokens.append(token)
        if tokens.count == most || decoder.filled == context { break }
        logits = try await decoder.forward([rows[token]])
    }
    return tokenizer.decode(tokens: tokens, skipSpecialTokens: true)
}
