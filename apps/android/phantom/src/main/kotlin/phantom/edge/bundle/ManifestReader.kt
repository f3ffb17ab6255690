package phantom.edge.bundle

import phantom.edge.json.Fields
import phantom.edge.json.Node
import phantom.edge.json.WrongJson

private const val MOST = 1 shl 20
private val TARGETS = arrayOf("onnx", "executorch", "coreml", "coreai", "jetson", "qnn")
private val LAYOUTS = arrayOf("growing arrays", "one growing array", "fixed arrays", "graph state")
private val POSITIONS = arrayOf("position_ids", "start_pos", "start and rotary rows", "rotary rows")
private val HEXADECIMAL = Regex("[0-9a-f]{64}")
private const val MIN_PENALTY = 1e-6
private const val MAX_PENALTY = 1e6
private const val FRACTIONAL_BITS = 22

/** Reads a manifest of version 2: nothing is guessed, and places that contradict each other are refused. */
internal fun readManifest(document: Any?): Manifest = Node("", document).fields {
    val version = get("schema_version")
    if (version.value != 2L) throw WrongJson("schema_version is ${version.value}, not 2")
    get("made_by").string()
    val found = Manifest(
        target = get("target").oneOf(*TARGETS),
        model = get("model").fields { model() },
        parts = get("parts").entries().mapValues { it.value.fields { part() } },
        embedding = get("embedding").orNull { fields { embedding() } },
        cache = get("cache").fields { cache() },
        pictures = get("pictures").fields { pictures() },
        prompt = get("prompt").fields { prompt() },
        generation = get("generation").fields { generation() },
        phantom = get("phantom").list().map { it.fields { phantom() } },
        prefillChunk = get("prefill_chunk").int(),
        tools = get("tools").entries().mapValues { it.value.string() },
        files = get("files").entries().mapValues { it.value.fields { file() } },
        seal = get("seal").string(),
        golden = get("golden").orNull { string() },
        recipe = find("integers")?.orNull { fields { integers() } },
        card = (get("model").entries()["card"])?.orNull { string() },
    )
    find("facts")?.entries()
    refuseOthers()
    contradictions(found)
    found
}

private fun Fields.model(): Model {
    get("family").string()
    get("eta").double()
    for (name in listOf("license", "uses", "out_of_scope", "card")) get(name).orNull { string() }
    return Model(
        name = get("name").string(),
        fingerprint = get("fingerprint").string(),
        hidden = get("hidden_size").int(),
        layers = get("layers").int(),
        heads = get("heads").int(),
        kvHeads = get("kv_heads").int(),
        headDim = get("head_dim").int(),
        vocabulary = get("vocab_size").int(),
    )
}

private fun Fields.part(): Part {
    get("precision").oneOf("fp32", "fp16", "int16")
    get("operators").entries().values.forEach { it.long() }
    for (name in listOf("function", "source")) find(name)?.string()
    find("states")?.list()?.forEach { it.fields { port() } }
    skip("delegation") // the same for every target that this library runs
    return Part(
        file = get("file").string(),
        weights = get("weights").strings(),
        weightBytes = get("weight_bytes").entries().mapValues { it.value.long() },
        inputs = get("inputs").list().map { it.fields { port() } },
        outputs = get("outputs").list().map { it.fields { port() } },
    )
}

private fun Fields.port(): Port = Port(
    get("name").string(),
    get("shape").list().map { if (it.value is String) null else it.long() },
    Kind.of(get("dtype").oneOf(*Kind.words)),
)

private fun Fields.float(name: String): Kind = Kind.of(get(name).oneOf("float32", "float16"))

private fun Fields.embedding(): Embedding {
    val kind = float("dtype")
    val found = Embedding(
        file = get("file").string(),
        offset = get("offset").long(),
        rows = get("rows").int(),
        width = get("width").int(),
        kind = kind,
        rounded = find("rounded")?.orNull { fields { rounded(kind) } },
    )
    val aligned = found.rounded?.scales ?: found.offset
    rules(
        "offset" to (found.offset >= 0 && aligned % kind.bytes == 0L),
        "rows" to (found.rows > 0),
        "width" to (found.width > 0),
    )
    return found
}

private fun Fields.rounded(kind: Kind): Rounded {
    val scaleKind = float("scale_dtype")
    find("first_nibble")?.oneOf("low")
    val found = Rounded(
        bits = get("bits").int(),
        block = get("block").int(),
        scales = get("scales").long(),
        zeroPoints = get("zero_points").orNull { long() },
        zeroOffset = get("zero_offset").int(),
    )
    val block = found.block
    rules(
        "bits" to (found.bits == 4 || found.bits == 8),
        "block" to (block in 16..(1 shl 16) && block and (block - 1) == 0),
        "scales" to (found.scales >= 0),
        "zero_points" to ((found.zeroPoints ?: 0) >= 0),
        "zero_offset" to (found.zeroOffset == 1 shl (found.bits - 1)),
        "scale_dtype" to (scaleKind == kind),
    )
    return found
}

private fun Fields.cache(): Cache {
    val layers = get("layers").int()
    val kvHeads = get("kv_heads").int()
    val maxContext = get("max_context").int()
    val keyWidths = get("key_widths").ints()
    val valueWidths = get("value_widths").ints()
    val plainWidth = get("plain_width").int()
    val rounded = find("rounded")?.boolean() ?: false
    val together = find("together")?.boolean() ?: false
    val layout = get("layout").oneOf(*LAYOUTS)
    val firstRow = find("first_row")?.orNull { fields { get("file").string() } }
    rules(
        "together" to (!(together && rounded) && together == (layout == "one growing array")),
        "first_row" to (firstRow == null || layout == "growing arrays"),
        "max_context" to (maxContext in 1..MOST),
        "kv_heads" to (kvHeads in 1..1024),
        "layers" to (layers in 1..1024),
        "widths" to (keyWidths + valueWidths).all { it in 1..(1 shl 16) },
    )
    if (keyWidths.size != layers || valueWidths.size != layers) {
        throw WrongJson("cache.key_widths or value_widths has not one width for each layer")
    }
    rules("plain_width" to (keyWidths + valueWidths).all { plainWidth in 1..it })
    return Cache(
        layers,
        kvHeads,
        plainWidth,
        keyWidths,
        valueWidths,
        Kind.of(get("dtype").oneOf("float32", "float16", "int16")),
        maxContext,
        layout,
        get("positions").oneOf(*POSITIONS),
        rounded,
        together,
        firstRow,
    )
}

private fun Fields.pictures(): Pictures {
    find("grid_rule")?.oneOf("nearest ratio, ties by area")
    find("order")?.oneOf("rows, thumbnail last")
    find("resizing")?.fields { resizing() }
    val found = Pictures(
        tileSize = get("tile_size").int(),
        minTiles = get("min_tiles").int(),
        maxTiles = get("max_tiles").int(),
        thumbnail = get("thumbnail").boolean(),
        mean = get("mean").doubles().map { it.toFloat() }.toFloatArray(),
        std = get("std").doubles().map { it.toFloat() }.toFloatArray(),
        tokensPerTile = get("tokens_per_tile").int(),
        grids = get("grids").list().map { it.ints() },
        tieArea = find("tie_area")?.double() ?: 0.5,
        background = find("decoding")?.fields { decoding() } ?: intArrayOf(255, 255, 255),
    )
    rules(
        "tile_size" to (found.tileSize in 1..(1 shl 14)),
        "tiles" to (found.minTiles in 1..found.maxTiles && found.maxTiles <= 1024),
        "tokens_per_tile" to (found.tokensPerTile > 0 && found.tokensPerTile <= MOST / maxOf(found.maxTiles, 1)),
        "mean" to (found.mean.size == 3),
        "std" to (found.std.size == 3 && found.std.all { it > 0 }),
        "tie_area" to (found.tieArea == 0.5),
        "grids" to isEveryGrid(found),
    )
    return found
}

/** True where the grids are all of so many tiles: fewest tiles first, of equally many the narrower first. */
private fun isEveryGrid(pictures: Pictures): Boolean {
    val tiles = pictures.minTiles..pictures.maxTiles
    if (tiles.last > 1024) return false
    val all = tiles.flatMap { count -> (1..count).filter { count % it == 0 }.map { listOf(it, count / it) } }
    return all == pictures.grids.map { it.toList() }
}

private fun Fields.decoding(): IntArray {
    find("orientation")?.oneOf("exif")
    find("channels")?.oneOf("RGB")
    find("sixteen_bits")?.oneOf("floor(value / 257 + 0.5)")
    val background = find("background")?.ints() ?: intArrayOf(255, 255, 255)
    rules("background" to (background.size == 3 && background.all { it in 0..255 }))
    return background
}

private fun Fields.resizing() {
    find("filter")?.oneOf("bicubic")
    rules(
        "cubic_a" to ((find("cubic_a")?.double() ?: -0.5) == -0.5),
        "fractional_bits" to ((find("fractional_bits")?.int() ?: FRACTIONAL_BITS) == FRACTIONAL_BITS),
        "passes" to ((find("passes")?.strings() ?: PASSES) == PASSES),
    )
}

private val PASSES = listOf("horizontal", "vertical")

private fun Fields.prompt(): Prompt {
    get("variables").entries().values.forEach { it.string() }
    val found = Prompt(
        tokenizer = get("tokenizer").string(),
        chatTemplate = get("chat_template").string(),
        firstToken = get("first_token").int(),
        imageToken = get("image_token").int(),
        stopTokens = get("stop_tokens").ints(),
        images = get("images").fields {
            ImageMarks(get("mark").string(), get("start").string(), get("context").string(), get("end").string())
        },
        reserved = get("reserved").strings(),
        specialTokens = get("special_tokens").entries().mapValues { it.value.int() },
        turns = find("turns")?.orNull { fields { turns() } },
    )
    val images = found.images
    rules(
        "stop_tokens" to found.stopTokens.isNotEmpty(),
        "image_marks" to listOf(images.mark, images.start, images.context, images.end).all { it.isNotEmpty() },
    )
    return found
}

private fun Fields.turns(): Turns = Turns(
    get("roles").entries().mapValues { it.value.fields { Turn(get("before").string(), get("after").string()) } },
    get("generation").string(),
)

private fun Fields.generation(): Generation {
    val found = Generation(
        repetitionPenalty = find("repetition_penalty")?.double() ?: 1.0,
        noRepeatNgram = find("no_repeat_ngram")?.int() ?: 0,
        minLength = find("min_length")?.int() ?: 0,
        minNewTokens = find("min_new_tokens")?.int() ?: 0,
        suppressTokens = find("suppress_tokens")?.ints() ?: IntArray(0),
        beginSuppressTokens = find("begin_suppress_tokens")?.ints() ?: IntArray(0),
    )
    rules(
        "repetition_penalty" to (found.repetitionPenalty in MIN_PENALTY..MAX_PENALTY),
        "no_repeat_ngram" to (found.noRepeatNgram in 0..MOST),
        "min_length" to (found.minLength in 0..MOST),
        "min_new_tokens" to (found.minNewTokens in 0..MOST),
        "suppress_tokens" to (found.suppressTokens + found.beginSuppressTokens).all { it >= 0 },
    )
    return found
}

private fun Fields.phantom(): Ranks {
    get("logit_error").double()
    get("value_error").double()
    get("is_proved").boolean()
    return Ranks(get("key_rank").int(), get("value_rank").int())
}

private fun Fields.file(): ListedFile {
    val found = ListedFile(get("bytes").long(), get("sha256").string())
    if (found.bytes < 0 || !HEXADECIMAL.matches(found.sha256)) {
        rules("sha256 or bytes" to false)
    }
    return found
}

private fun Fields.integers(): String {
    get("algorithm").string()
    get("weights").entries().values.forEach { it.long() }
    return get("recipe").string()
}
