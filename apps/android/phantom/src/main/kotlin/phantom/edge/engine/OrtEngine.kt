package phantom.edge.engine

import ai.onnxruntime.NodeInfo
import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtException
import ai.onnxruntime.OrtLoggingLevel
import ai.onnxruntime.OrtSession
import ai.onnxruntime.TensorInfo
import phantom.edge.PhantomError
import phantom.edge.bundle.BundleFolder
import phantom.edge.bundle.Kind
import phantom.edge.bundle.Part
import phantom.edge.bundle.Port
import phantom.edge.pictures.normalized
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder

private const val INEXACT = "1.29."
private val X86 = setOf("x86", "i386", "i686", "amd64", "x86_64")
private val DECODER_INPUTS = setOf("inputs_embeds", "position_ids", "logits_to_keep")

/** Runs a bundle of target onnx on the CPU; ONNX Runtime's profiler writes into the folder [traces], if there is one. */
internal class OrtEngine(
    private val bundle: BundleFolder,
    private val threads: Int,
    private val traces: File? = null,
) : Engine {
    private val environment: OrtEnvironment = ortEnvironment()
    private val manifest = bundle.manifest
    private val hidden = manifest.model.hidden
    private val vocabulary = manifest.model.vocabulary
    private val kind = manifest.cache.kind
    private val cache = manifest.cache.buffers.map { CacheRows(it, manifest.cache.maxContext) }
    private val fed = direct(manifest.prefillChunk * hidden * kind.bytes)
    private val positions = direct(manifest.prefillChunk * Kind.INT64.bytes)
    private val kept = direct(Kind.INT64.bytes)
    private val logits = direct(vocabulary * kind.bytes)
    private val pixels = direct(3 * manifest.pictures.tileSize * manifest.pictures.tileSize * kind.bytes)
    private val opened = ArrayList<AutoCloseable>()
    private val rows: Rows
    private val vision: OrtSession
    private val decoder: OrtSession

    init {
        val table = manifest.embedding ?: throw PhantomError.Unsupported(
            "this bundle has no table of embeddings",
            PhantomError.EXPORT_AGAIN,
        )
        if (kind == Kind.FLOAT16 && environment.version.startsWith(INEXACT) && System.getProperty("os.arch") in X86) {
            throw PhantomError.Unsupported(
                "ONNX Runtime ${environment.version} sums products in float16 on x86",
                "use another version of it, or a bundle of float32: phantom-edge export --weights fp32",
            )
        }
        if (manifest.recipe != null) running("test of byte products") { checkByteProducts(environment) }
        try {
            rows = Rows(bundle.file(table.file), table).also(opened::add)
            vision = session(manifest.vision, setOf("pixel_values"))
            decoder = session(manifest.decoder, DECODER_INPUTS + cache.map { it.pastName })
        } catch (error: PhantomError) {
            close()
            throw error
        }
    }

    private fun session(part: Part, fed: Set<String>): OrtSession {
        val file = bundle.file(part.file)
        val session = try {
            OrtSession.SessionOptions().use { options ->
                options.setIntraOpNumThreads(threads)
                options.setSessionLogLevel(OrtLoggingLevel.ORT_LOGGING_LEVEL_ERROR)
                if (traces != null) options.enableProfiling(File(traces, File(part.file).name).path)
                environment.createSession(file.path, options)
            }
        } catch (error: OrtException) {
            throw PhantomError.Failed(
                "ONNX Runtime does not load $file (${said(error)})",
                PhantomError.EXPORT_AGAIN,
                error,
            )
        }
        opened.add(session)
        val isListed = ports(session.inputInfo) == part.inputs && ports(session.outputInfo) == part.outputs
        if (!isListed || session.inputNames != fed) {
            throw PhantomError.DamagedBundle("$file has other inputs or outputs than its manifest lists")
        }
        return session
    }

    private fun ports(found: Map<String, NodeInfo>): List<Port> = found.values.map { one ->
        val tensor = one.info as? TensorInfo
        val kind = TYPES.entries.find { it.value == tensor?.type }?.key ?: Kind.UINT8
        Port(one.name, tensor?.shape.orEmpty().map { size -> size.takeIf { it >= 0 } }, kind)
    }

    private fun LongArray?.orEmpty() = this ?: LongArray(0)

    override fun encode(tile: ByteArray): FloatArray {
        write(pixels, normalized(tile, manifest.pictures), 0, tile.size)
        val side = manifest.pictures.tileSize.toLong()
        return running("vision") {
            tensor(pixels, kind, 1, 3, side, side).use { input ->
                vision.run(mapOf("pixel_values" to input)).use { found -> floats(found.get(0) as OnnxTensor) }
            }
        }
    }

    override fun embed(ids: IntArray): FloatArray {
        val found = FloatArray(ids.size * hidden)
        for ((place, id) in ids.withIndex()) rows.read(id, found, place * hidden)
        return found
    }

    override fun forward(embeds: FloatArray, first: Int, count: Int, start: Int, wantsLogits: Boolean): FloatArray? {
        for (one in cache) one.grow(start + count)
        write(fed, embeds, first * hidden, count * hidden)
        positions.clear()
        for (place in 0 until count) positions.putLong((start + place).toLong())
        positions.flip()
        kept.clear()
        if (wantsLogits) kept.putLong(count - 1L)
        kept.flip()
        val tensors = ArrayList<OnnxTensor>()
        fun keep(tensor: OnnxTensor) = tensor.also(tensors::add)
        return running("decoder") {
            try {
                val inputs = HashMap<String, OnnxTensor>()
                val outputs = HashMap<String, OnnxTensor>()
                inputs["inputs_embeds"] = keep(tensor(fed, kind, count.toLong(), hidden.toLong()))
                inputs["position_ids"] = keep(tensor(positions, Kind.INT64, 1, count.toLong()))
                inputs["logits_to_keep"] = keep(tensor(kept, Kind.INT64, if (wantsLogits) 1 else 0))
                for (one in cache) {
                    inputs[one.pastName] = keep(one.past(environment, start))
                    outputs[one.newName] = keep(one.new(environment, start, count))
                }
                logits.clear()
                if (wantsLogits) outputs["logits"] = keep(tensor(logits, kind, 1, vocabulary.toLong()))
                decoder.run(inputs, outputs).close()
            } finally {
                tensors.forEach(OnnxTensor::close)
            }
            if (wantsLogits) numbers(logits, vocabulary) else null
        }
    }

    override fun endTraces(): List<File> {
        if (traces == null) return listOf()
        return running("profiler") { listOf(vision, decoder).map { File(it.endProfiling()) } }
    }

    private fun tensor(buffer: ByteBuffer, kind: Kind, vararg shape: Long): OnnxTensor =
        OnnxTensor.createTensor(environment, buffer, shape, TYPES.getValue(kind))

    /** Writes numbers in the graph's format, and leaves the buffer at them. */
    private fun write(to: ByteBuffer, numbers: FloatArray, first: Int, count: Int) {
        to.clear()
        if (kind == Kind.FLOAT16) {
            for (place in first until first + count) to.putShort(toHalf(numbers[place]))
            to.flip()
        } else {
            to.asFloatBuffer().put(numbers, first, count)
            to.limit(4 * count)
        }
    }

    private fun numbers(from: ByteBuffer, count: Int): FloatArray {
        if (kind == Kind.FLOAT16) return FloatArray(count) { fromHalf(from.getShort(2 * it)) }
        return FloatArray(count).also { from.asFloatBuffer().get(it) }
    }

    private fun floats(tensor: OnnxTensor): FloatArray {
        val buffer = tensor.byteBuffer.order(ByteOrder.nativeOrder())
        return numbers(buffer, buffer.remaining() / kind.bytes)
    }

    private fun <T> running(part: String, run: () -> T): T = try {
        run()
    } catch (error: OrtException) {
        throw PhantomError.Failed(
            "the $part of this bundle does not run: ${said(error)}",
            PhantomError.EXPORT_AGAIN,
            error,
        )
    }

    private fun said(error: OrtException) = error.message.orEmpty().split(Regex("\\s+")).joinToString(" ").take(SAID)

    override fun close() {
        opened.asReversed().forEach(AutoCloseable::close)
        opened.clear()
    }

    private companion object {
        const val SAID = 200
    }
}
