// Prompts, rows of embeddings and the end of an answer, by phantom.json. Needs Tokenizers of swift-transformers.
import Foundation
import Hub
import Tokenizers

struct Manifest: Decodable {
    struct Port: Decodable { var name: String; var dtype: String; var shape: [Side] }
    struct Side: Decodable {
        var size: Int?  // nil where it differs from run to run
        init(from decoder: Decoder) throws { size = try? decoder.singleValueContainer().decode(Int.self) }
    }
    struct Part: Decodable { var file: String; var function: String; var inputs: [Port]; var outputs: [Port] }
    struct Cache: Decodable { var max_context: Int }
    struct Facts: Decodable { var rotary: String?; var masked: Float?; var window: Int?; var compute: String? }
    struct Generation: Decodable {
        var repetition_penalty: Double
        var no_repeat_ngram: Int
        var min_length: Int
        var min_new_tokens: Int
        var suppress_tokens: [Int]
        var begin_suppress_tokens: [Int]
    }
    var parts: [String: Part]
    var embedding: Embedding?
    var cache: Cache
    var pictures: Pictures
    var prompt: Prompt
    var generation: Generation
    var prefill_chunk: Int
    var facts: Facts
    var seal: String

    init(bundle: URL) throws {
        let data = try Data(contentsOf: bundle.appendingPathComponent("phantom.json"))
        self = try JSONDecoder().decode(Manifest.self, from: data)
        let asked = generation
        let isGreedy = asked.repetition_penalty == 1 && asked.no_repeat_ngram == 0 && asked.min_length == 0
            && asked.min_new_tokens == 0 && asked.suppress_tokens.isEmpty && asked.begin_suppress_tokens.isEmpty
        if !isGreedy { throw Problem(text: "this program chooses tokens greedily, and the model asks for \(asked)") }
    }
}

struct Prompt: Decodable {
    struct Images: Decodable { var mark: String; var start: String; var context: String; var end: String }
    struct Turn: Decodable { var before: String; var after: String }
    struct Turns: Decodable { var roles: [String: Turn]; var generation: String }
    var tokenizer: String
    var first_token: Int
    var image_token: Int
    var stop_tokens: [Int]
    var images: Images
    var reserved: [String]
    var turns: Turns?

    /// The texts before and behind the picture of a prompt with one picture, without its image tokens.
    func aroundPicture(_ question: String) throws -> (before: String, behind: String) {
        for text in reserved + [images.mark] where question.contains(text) {
            throw Problem(text: "the question contains \(text)")
        }
        guard let turns, let user = turns.roles["user"] else {
            throw Problem(text: "the template of this model needs a renderer of Jinja")
        }
        return (user.before + images.start, images.end + question + user.after + turns.generation)
    }

    func loadTokenizer(_ bundle: URL) throws -> Tokenizer {
        let data = try Data(contentsOf: bundle.appendingPathComponent(tokenizer))
        guard let json = try JSONSerialization.jsonObject(with: data) as? [NSString: Any] else {
            throw Problem(text: "\(tokenizer) is no tokenizer")
        }
        let about: [NSString: Any] = ["tokenizer_class": "PreTrainedTokenizer", "clean_up_tokenization_spaces": false]
        return try AutoTokenizer.from(tokenizerConfig: Config(about), tokenizerData: Config(json))
    }

    /// The ids of a prompt with one picture.
    func ids(_ question: String, imageTokens: Int, _ tokenizer: Tokenizer) throws -> [Int] {
        let (before, behind) = try aroundPicture(question)
        let text = before + String(repeating: images.context, count: imageTokens) + behind
        let ids = tokenizer.encode(text: text, addSpecialTokens: false)
        if ids.first != first_token { throw Problem(text: "this prompt begins with another token than this bundle's") }
        return ids
    }
}

struct Embedding: Decodable {
    struct Rounded: Decodable {
        var bits: Int
        var block: Int
        var scales: Int
        var zero_points: Int?
        var scale_dtype: String
        var zero_offset: Int
    }
    var file: String
    var offset: Int
    var rows: Int
    var width: Int
    var dtype: String
    var rounded: Rounded?

    func load(_ bundle: URL) throws -> Rows {
        Rows(table: self, data: try Data(contentsOf: bundle.appendingPathComponent(file), options: .alwaysMapped))
    }
}

/// The table of embeddings.
struct Rows {
    var table: Embedding
    var data: Data

    private func floats(_ id: Int, _ offset: Int, _ count: Int, _ dtype: String) -> [Float] {
        data.withUnsafeBytes { bytes in
            (0..<count).map { place in
                dtype == "float16"
                    ? Float(bytes.loadUnaligned(fromByteOffset: offset + 2 * (id * count + place), as: Float16.self))
                    : bytes.loadUnaligned(fromByteOffset: offset + 4 * (id * count + place), as: Float.self)
            }
        }
    }

    /// A token's row in float32.
    subscript(id: Int) -> [Float] {
        let width = table.width
        guard let rounded = table.rounded else { return floats(id, table.offset, width, table.dtype) }
        let bits = rounded.bits, block = rounded.block, blocks = (width + block - 1) / block
        func integer(_ offset: Int, _ rowBytes: Int, _ place: Int) -> Int {  // the low half first
            let byte = Int(data[data.startIndex + offset + id * rowBytes + (bits == 8 ? place : place / 2)])
            return bits == 8 ? byte : byte >> (4 * (place % 2)) & 15
        }
        let scales = floats(id, rounded.scales, blocks, rounded.scale_dtype)
        return (0..<width).map { place in
            let own = integer(table.offset, blocks * block * bits / 8, place)
            let zero = rounded.zero_points.map { integer($0, (blocks * bits + 7) / 8, place / block) }
            return Float(own - (zero ?? rounded.zero_offset)) * scales[place / block]
        }
    }
}
