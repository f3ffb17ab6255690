// Answers a question from a picture: Answer BUNDLE PICTURE QUESTION. With Steps, Pictures and Words.
import CoreAI
import Foundation

final class CoreAIFunctions: Functions {
    private var functions: [String: InferenceFunction] = [:]
    private let outputs: [String: [String]]

    init(_ bundle: URL) async throws {
        let manifest = try Manifest(bundle: bundle)
        outputs = manifest.parts.mapValues { $0.outputs.map(\.name) }
        for (name, part) in manifest.parts {
            let model = try await AIModel(contentsOf: bundle.appendingPathComponent(part.file))
            let function = part.function.isEmpty ? "main" : part.function
            functions[name] = try model.loadFunction(named: function)
        }
    }

    func run(_ part: String, _ inputs: [String: Numbers], start: Int?) async throws -> [String: Numbers] {
        let given = inputs.mapValues { NDArray(scalars: $0.values, shape: $0.shape) }
        var found = try await functions[part]!.run(inputs: given)
        var numbers: [String: Numbers] = [:]
        for name in outputs[part]! {
            if let array = found.remove(name)?.ndArray { numbers[name] = read(array) }
        }
        return numbers
    }

    /// An array's numbers, row after row: in memory its rows may be padded.
    private func read(_ array: NDArray) -> Numbers {
        let shape = array.shape, count = shape.reduce(1, *)
        var values = [Float16](repeating: 0, count: count)
        array.view(as: Float16.self).withUnsafePointer { pointer, _, strides in
            for place in 0..<count {
                var left = place, at = 0
                for axis in shape.indices.reversed() {
                    at += left % shape[axis] * strides[axis]
                    left /= shape[axis]
                }
                values[place] = pointer[at]
            }
        }
        return Numbers(values: values, shape: shape)
    }
}

@main
struct Answer {
    static func main() async throws {
        let given = CommandLine.arguments
        let (bundle, picture) = (URL(fileURLWithPath: given[1]), URL(fileURLWithPath: given[2]))
        let functions = try await CoreAIFunctions(bundle)
        print(try await answer(functions, bundle: bundle, picture: picture, question: given[3]))
    }
}
