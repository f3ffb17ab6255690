// Answers a question from a picture with ExecuTorch's own runner: Answer BUNDLE PICTURE QUESTION.
// With Pictures.swift and Words.swift, without the tokenizer's part of the latter: the runner has its own.
import ExecuTorchLLM
import Foundation

/// Answers greedily; `heard` gets the answer piece by piece.
func answer(bundle: URL, picture: URL, question: String, heard: @escaping (String) -> Void) throws {
    let manifest = try Manifest(bundle: bundle)
    let (pictures, prompt) = (manifest.pictures, manifest.prompt)
    let program = bundle.appendingPathComponent(manifest.parts["decoder"]!.file)
    let (before, behind) = try prompt.aroundPicture(question)
    let side = pictures.tile_size
    let tiles = pictures.tiles(try pictures.decoded(picture)).map {
        MultimodalInput(Image(data: Data($0), width: side, height: side, channels: 3))
    }

    let tokenizer = bundle.appendingPathComponent(prompt.tokenizer)
    let runner = MultimodalRunner(modelPath: program.path, tokenizerPath: tokenizer.path)
    try runner.load()
    let settings = Config {
        $0.temperature = 0
        $0.isEchoEnabled = false
        $0.sequenceLength = manifest.cache.max_context
    }
    // The first token must come first; after runner.reset(), too.
    try runner.generate([MultimodalInput(before)] + tiles + [MultimodalInput(behind)], settings, tokenCallback: heard)
}

@main
struct Answer {
    static func main() throws {
        let given = CommandLine.arguments
        let (bundle, picture) = (URL(fileURLWithPath: given[1]), URL(fileURLWithPath: given[2]))
        try answer(bundle: bundle, picture: picture, question: given[3]) { print($0, terminator: "") }
        print()
    }
}
