// Answers a question from a picture: Answer BUNDLE PICTURE QUESTION. With Steps, Pictures and Words.
import CoreML
import Foundation

/// Compiles a package once: the result stays in Application Support, under the seal of the bundle it was made from.
func compiled(_ package: URL, seal: String) async throws -> URL {
    let manager = FileManager.default
    let support = try manager.url(
        for: .applicationSupportDirectory, in: .userDomainMask, appropriateFor: nil, create: true)
    let folder = support.appendingPathComponent("phantom").appendingPathComponent(seal)
    let kept = folder.appendingPathComponent(package.deletingPathExtension().lastPathComponent + ".mlmodelc")
    if manager.fileExists(atPath: kept.path) { return kept }
    try manager.createDirectory(at: folder, withIntermediateDirectories: true)
    try manager.moveItem(at: try await MLModel.compileModel(at: package), to: kept)
    return kept
}

final class CoreMLFunctions: Functions {
    private var models: [String: MLModel] = [:]
    private var state: Any?

    init(_ bundle: URL) async throws {
        let manifest = try Manifest(bundle: bundle)
        let isState = manifest.facts.compute == "gpu"
        for (name, part) in manifest.parts {
            let settings = MLModelConfiguration()
            settings.computeUnits = isState ? .cpuAndGPU : .cpuAndNeuralEngine
            if !part.function.isEmpty, #available(iOS 18, macOS 15, *) { settings.functionName = part.function }
            let package = try await compiled(bundle.appendingPathComponent(part.file), seal: manifest.seal)
            models[name] = try await MLModel.load(contentsOf: package, configuration: settings)
        }
        if isState, #available(iOS 18, macOS 15, *) { state = models["decoder"]!.makeState() }
    }

    func run(_ part: String, _ inputs: [String: Numbers], start: Int?) async throws -> [String: Numbers] {
        var given = inputs.mapValues {
            MLFeatureValue(shapedArray: MLShapedArray<Float16>(scalars: $0.values, shape: $0.shape))
        }
        if let start {
            given["start"] = MLFeatureValue(shapedArray: MLShapedArray<Int32>(scalars: [Int32(start)], shape: [1]))
        }
        let provider = try MLDictionaryFeatureProvider(dictionary: given)
        let found: MLFeatureProvider
        if start != nil, #available(iOS 18, macOS 15, *), let state = state as? MLState {
            found = try await models[part]!.prediction(from: provider, using: state)
        } else {
            found = try await models[part]!.prediction(from: provider)
        }
        let pairs = found.featureNames.map { name in
            let array = found.featureValue(for: name)!.shapedArrayValue(of: Float16.self)!
            return (name, Numbers(values: array.scalars, shape: array.shape))
        }
        return Dictionary(uniqueKeysWithValues: pairs)
    }
}

@main
struct Answer {
    static func main() async throws {
        let given = CommandLine.arguments
        let (bundle, picture) = (URL(fileURLWithPath: given[1]), URL(fileURLWithPath: given[2]))
        let functions = try await CoreMLFunctions(bundle)
        print(try await answer(functions, bundle: bundle, picture: picture, question: given[3]))
    }
}
