// Answers a question from a picture: Answer BUNDLE PICTURE QUESTION. With Pictures.swift and Words.swift.
import Foundation
import OnnxRuntimeBindings
import Tokenizers

extension ORTValue {
    /// A tensor with a copy of numbers.
    convenience init<Number>(_ numbers: [Number], _ type: ORTTensorElementDataType, _ shape: [Int]) throws {
        let data = numbers.withUnsafeBytes { NSMutableData(bytes: $0.baseAddress, length: $0.count) }
        try self.init(tensorData: data, elementType: type, shape: shape.map { NSNumber(value: $0) })
    }

    func floats() throws -> [Float] {
        let data = try tensorData() as Data
        return data.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
    }
}

/// The decoder and its cache: bytes for each `past_` input, to which rows are appended.
final class TextDecoder {
    let session: ORTSession
    let part: Manifest.Part
    let width: Int
    var pasts: [String: (data: NSMutableData, type: ORTTensorElementDataType, width: Int)] = [:]
    var filled = 0

    init(_ environment: ORTEnv, _ bundle: URL, _ part: Manifest.Part, width: Int) throws {
        let path = bundle.appendingPathComponent(part.file).path
        session = try ORTSession(env: environment, modelPath: path, sessionOptions: nil)
        (self.part, self.width) = (part, width)
        for port in part.inputs where port.name.hasPrefix("past_") {
            guard let type = ["float32": .float, "int8": .int8][port.dtype] as ORTTensorElementDataType? else {
                throw Problem(text: "these bindings have no \(port.dtype)")
            }
            pasts[port.name] = (NSMutableData(), type, port.shape[1].size ?? 0)
        }
    }

    /// Appends rows to the cache; returns the logits behind the last one.
    func forward(_ rows: ArraySlice<[Float]>) throws -> [Float] {
        let count = rows.count
        var inputs = [
            "inputs_embeds": try ORTValue(Array(rows.joined()), .float, [count, width]),
            "position_ids": try ORTValue((0..<count).map { Int64(filled + $0) }, .int64, [1, count]),
            "logits_to_keep": try ORTValue([Int64(count - 1)], .int64, [1]),
        ]
        for (name, past) in pasts {
            let shape = [NSNumber(value: filled), NSNumber(value: past.width)]
            inputs[name] = try ORTValue(tensorData: past.data, elementType: past.type, shape: shape)
        }
        let names = Set(part.outputs.map(\.name))
        let found = try session.run(withInputs: inputs, outputNames: names, runOptions: nil)
        for (name, past) in pasts {
            let new = "new_" + name.dropFirst("past_".count)
            pasts[name]!.data = NSMutableData(data: past.data as Data)  // a tensor still holds the old bytes
            if let rows = try found[new]?.tensorData() { pasts[name]!.data.append(rows as Data) }
        }
        filled += count
        return try found["logits"]!.floats()
    }
}

/// Answers greedily with at most `most` tokens.
func answer(bundle: URL, picture: URL, question: String, most: Int = 256) throws -> String {
    let manifest = try Manifest(bundle: bundle)
    let (pictures, prompt) = (manifest.pictures, manifest.prompt)
    guard let vision = manifest.parts["vision"], let part = manifest.parts["decoder"],
        let rows = try manifest.embedding?.load(bundle), vision.inputs[0].dtype == "float32"
    else { throw Problem(text: "this program runs bundles for ONNX Runtime, and not in float16") }
    let environment = try ORTEnv(loggingLevel: .warning)

    let path = bundle.appendingPathComponent(vision.file).path
    let encoder = try ORTSession(env: environment, modelPath: path, sessionOptions: nil)
    let (side, width) = (pictures.tile_size, rows.table.width)
    var seen: [[Float]] = []
    for tile in pictures.tiles(try pictures.decoded(picture)) {
        let pixels = try ORTValue(pictures.normalized(tile), .float, [1, 3, side, side])
        let found = try encoder.run(
            withInputs: ["pixel_values": pixels], outputNames: ["image_tokens"], runOptions: nil)
        let tokens = try found["image_tokens"]!.floats()
        seen += (0..<tokens.count / width).map { Array(tokens[$0 * width..<($0 + 1) * width]) }
    }

    let tokenizer = try prompt.loadTokenizer(bundle)
    let ids = try prompt.ids(question, imageTokens: seen.count, tokenizer)
    let context = manifest.cache.max_context
    if ids.count >= context { throw Problem(text: "this prompt is too long") }
    var image = seen.makeIterator()
    let embeds = ids.map { $0 == prompt.image_token ? image.next()! : rows[$0] }

    let decoder = try TextDecoder(environment, bundle, part, width: width)
    var logits: [Float] = []
    for start in stride(from: 0, to: ids.count, by: manifest.prefill_chunk) {
        logits = try decoder.forward(embeds[start..<min(start + manifest.prefill_chunk, ids.count)])
    }
    var tokens: [Int] = []
    while let token = logits.indices.max(by: { logits[$0] < logits[$1] }), !prompt.stop_tokens.contains(token) {
        tokens.append(token)
        if tokens.count == most || decoder.filled == context { break }
        logits = try decoder.forward([rows[token]])
    }
    return tokenizer.decode(tokens: tokens, skipSpecialTokens: true)
}

@main
struct Answer {
    static func main() throws {
        let given = CommandLine.arguments
        let (bundle, picture) = (URL(fileURLWithPath: given[1]), URL(fileURLWithPath: given[2]))
        print(try answer(bundle: bundle, picture: picture, question: given[3]))
    }
}
