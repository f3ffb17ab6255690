// Answers a question from a picture: Answer BUNDLE PICTURE QUESTION. With Pictures.swift and Words.swift.
import CoreML
import Foundation
import Tokenizers

/// Compiles a package once: the result stays in Application Support, under the seal of the bundle it was made from.
func compiled(_ package: URL, seal: String) async throws -> URL {
    let manager = FileManager.default
    let support = try manager.url(for: .applicationSupportDirectory, in: .userDomainMask, appropriateFor: nil, create: true)
    let folder = support.appendingPathComponent("phantom").appendingPathComponent(seal)
    let kept = folder.appendingPathComponent(package.deletingPathExtension().lastPathComponent + ".mlmodelc")
    if manager.fileExists(atPath: kept.path) { return kept }
    try manager.createDirectory(at: folder, withIntermediateDirectories: true)
    try manager.moveItem(at: try await MLModel.compileModel(at: package), to: kept)
    return kept
}

/// The functions of a bundle, and its cache: the decoder's own state, or arrays that are inputs.
final class TextDecoder {
    let manifest: Manifest
    var models: [String: MLModel] = [:]
    let isState: Bool
    let rotary: [Float]
    var state: Any?
    var pasts: [String: MLMultiArray] = [:]
    var filled = 0

    init(_ bundle: URL, _ manifest: Manifest) async throws {
        self.manifest = manifest
        isState = manifest.facts.compute == "gpu"
        let file = bundle.appendingPathComponent(manifest.facts.rotary!)
        rotary = try Data(contentsOf: file).withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
        for (name, part) in manifest.parts {
            let settings = MLModelConfiguration()
            settings.computeUnits = isState ? .cpuAndGPU : .cpuAndNeuralEngine
            if !part.function.isEmpty { settings.functionName = part.function }
            let package = try await compiled(bundle.appendingPathComponent(part.file), seal: manifest.seal)
            models[name] = try await MLModel.load(contentsOf: package, configuration: settings)
        }
        if isState { state = models["decoder"]!.makeState() }
        for port in manifest.parts["decoder"]!.inputs where port.name.hasPrefix("past_") {
            let past = try MLMultiArray(shape: port.shape.map { NSNumber(value: $0.size!) }, dataType: .float16)
            past.withUnsafeMutableBytes { bytes, _ in _ = bytes.initializeMemory(as: UInt8.self, repeating: 0) }
            pasts[port.name] = past
        }
    }

    private func shape(_ part: String, _ name: String) -> [Int] {
        manifest.parts[part]!.inputs.first { $0.name == name }!.shape.map { $0.size! }
    }

    /// Rows as an array of a port's shape: as they are, or, for the Neural Engine, as columns.
    private func array(_ rows: [[Float]], _ part: String, _ name: String) -> MLShapedArray<Float16> {
        let count = rows.count, width = rows[0].count
        let numbers = isState
            ? rows.joined().map { Float16($0) }
            : (0..<count * width).map { Float16(rows[$0 % count][$0 / count]) }
        return MLShapedArray(scalars: numbers, shape: shape(part, name))
    }

    /// An output as rows.
    private func rows(_ found: MLFeatureProvider, _ name: String, _ count: Int) -> [[Float]] {
        let numbers = found.featureValue(for: name)!.shapedArrayValue(of: Float16.self)!.scalars
        let width = numbers.count / count
        return (0..<count).map { row in
            (0..<width).map { Float(numbers[isState ? row * width + $0 : $0 * count + row]) }
        }
    }

    private func run(_ part: String, _ inputs: [String: MLFeatureValue]) async throws -> MLFeatureProvider {
        let given = try MLDictionaryFeatureProvider(dictionary: inputs)
        if part != "vision", part != "head", let state = state as? MLState {
            return try await models[part]!.prediction(from: given, using: state)
        }
        return try await models[part]!.prediction(from: given)
    }

    func imageTokens(_ tile: [UInt8]) async throws -> [[Float]] {
        let pixels = MLShapedArray(
            scalars: manifest.pictures.normalized(tile).map { Float16($0) }, shape: shape("vision", "pixel_values"))
        let found = try await run("vision", ["pixel_values": MLFeatureValue(shapedArray: pixels)])
        return rows(found, "image_tokens", manifest.pictures.tokens_per_tile)
    }

    /// Runs `tokens` rows, of which `real` enter the cache; the last one is repeated to fill the others.
    private func step(_ part: String, _ real: ArraySlice<[Float]>, _ tokens: Int) async throws -> MLFeatureProvider {
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
        var inputs = pasts.mapValues { MLFeatureValue(multiArray: $0) }
        for (name, rows) in ["inputs_embeds": padded, "cosines": tables[0], "sines": tables[1], "mask": mask] {
            inputs[name] = MLFeatureValue(shapedArray: array(rows, part, name))
        }
        if isState { inputs["start"] = MLFeatureValue(shapedArray: MLShapedArray(scalars: [Int32(start)], shape: [1])) }
        let found = try await run(part, inputs)
        for (name, past) in pasts { write(found, name, past, real.count, tokens) }
        filled += real.count
        return found
    }

    /// Copies the new rows of real tokens into the cache: keys (1, places, heads, width), values (1, width, heads, places).
    private func write(_ found: MLFeatureProvider, _ name: String, _ past: MLMultiArray, _ real: Int, _ tokens: Int) {
        let new = "new_" + name.dropFirst("past_".count)
        let numbers = found.featureValue(for: new)!.shapedArrayValue(of: Float16.self)!.scalars
        let isKey = name.hasPrefix("past_key"), width = numbers.count / tokens, context = manifest.cache.max_context
        past.withUnsafeMutableBytes { bytes, _ in
            let kept = bytes.bindMemory(to: Float16.self)
            for token in 0..<real {
                for number in 0..<width {
                    let place = isKey ? (filled + token) * width + number : number * context + filled + token
                    kept[place] = numbers[isKey ? token * width + number : number * tokens + token]
                }
            }
        }
    }

    /// Appends rows to the cache; returns the logits behind the last one.
    func forward(_ all: [[Float]]) async throws -> [Float] {
        var left = all[...], last: MLFeatureProvider?
        while !left.isEmpty {
            let chunk = manifest.prefill_chunk, real = left.prefix(chunk)
            if real.count > 1, filled + chunk <= manifest.cache.max_context {
                let hidden = rows(try await step("prefill", real, chunk), "hidden", chunk)[real.count - 1]
                left = left.dropFirst(real.count)
                if left.isEmpty {
                    last = try await run("head", ["hidden": MLFeatureValue(shapedArray: array([hidden], "head", "hidden"))])
                }
            } else {
                last = try await step("decoder", left.prefix(1), 1)
                left = left.dropFirst()
            }
        }
        let names = last!.featureNames.filter { $0.hasPrefix("logits") }.sorted { ($0.count, $0) < ($1.count, $1) }
        return Array(names.flatMap { rows(last!, $0, 1)[0] }.prefix(manifest.embedding!.rows))
    }
}

/// Answers greedily with at most `most` tokens.
func answer(bundle: URL, picture: URL, question: String, most: Int = 256) async throws -> String {
    let manifest = try Manifest(bundle: bundle)
    let (prompt, context) = (manifest.prompt, manifest.cache.max_context)
    let decoder = try await TextDecoder(bundle, manifest)
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

@main
struct Answer {
    static func main() async throws {
        let given = CommandLine.arguments
        let (bundle, picture) = (URL(fileURLWithPath: given[1]), URL(fileURLWithPath: given[2]))
        print(try await answer(bundle: bundle, picture: picture, question: given[3]))
    }
}
