package phantom.edge.session

import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.ensureActive
import phantom.edge.Answer
import phantom.edge.End
import phantom.edge.Message
import phantom.edge.PhantomError
import phantom.edge.Picture
import phantom.edge.Settings
import phantom.edge.State
import phantom.edge.bundle.Manifest
import phantom.edge.engine.Engine
import phantom.edge.pictures.Tiles
import phantom.edge.pictures.cutTiles
import phantom.edge.text.Prompts
import phantom.edge.text.Streamed
import phantom.edge.text.Tokenizer

private const val NANOS = 1e9

/**
 * Questions to a bundle, with one conversation in its cache at a time.
 *
 * The prefix that a new prompt shares with the cache is not computed again, and the image tokens of the latest
 * [pictures] pictures are kept. Between any two runs of a graph the coroutine may be cancelled.
 */
internal class Session(
    val manifest: Manifest,
    val engine: Engine,
    private val tokenizer: Tokenizer,
    private val pictures: Int,
    private val pace: Pace,
    private val show: (State) -> Unit,
) {
    /** The content of a position of the cache: a token, and the picture that an image token is of. */
    private data class Place(val token: Int, val picture: String?)

    private val prompts = Prompts(manifest, tokenizer)
    private var held: List<Place> = listOf()
    private val known = LinkedHashMap<String, FloatArray>()

    /** Empties the cache and the memory of pictures. */
    fun forget() {
        held = listOf()
        known.clear()
    }

    /** Empties the cache alone. */
    fun forgetConversation() {
        held = listOf()
    }

    /** Answers the last message; [write] takes the pieces. */
    suspend fun answer(
        messages: List<Message>,
        shown: List<Picture>,
        settings: Settings,
        answer: Answer,
        watch: Watch = Watch(),
        write: suspend (String) -> Unit,
    ) {
        val begin = System.nanoTime()
        val rendered = watch.timed("words") { prompts.render(messages, shown.size) }
        val tiles = watch.timed("preprocess") { shown.map { cutTiles(it, manifest.pictures) } }
        val counts = tiles.map { it.tiles.size * manifest.pictures.tokensPerTile }
        val ids = watch.timed("words") { prompts.ids(rendered, counts) }
        watch.onPrompt(rendered, ids)
        answer.promptTokens = ids.size
        val encoded = encodeAll(tiles, watch)
        val seen = System.nanoTime()
        answer.visionSeconds = (seen - begin) / NANOS
        val logits = prefill(ids, tiles, encoded, answer, watch)
        answer.prefillSeconds = (System.nanoTime() - seen) / NANOS
        decode(ids, logits, settings, answer, watch, write)
    }

    private inline fun <T> Watch.timed(stage: String, work: () -> T): T {
        val start = System.nanoTime()
        return work().also { onStage(stage, System.nanoTime() - start) }
    }

    /** Runs a step after which the device may rest, and before which a cancelled answer ends. */
    private suspend inline fun <T> Watch.step(stage: String, work: () -> T): T {
        currentCoroutineContext().ensureActive()
        val start = System.nanoTime()
        val found = work()
        val nanos = System.nanoTime() - start
        onStage(stage, nanos)
        pace.rest(nanos)
        return found
    }

    private suspend fun encodeAll(tiles: List<Tiles>, watch: Watch): List<FloatArray> {
        val all = tiles.distinctBy { it.digest }.filter { it.digest !in known }.sumOf { it.tiles.size }
        var done = 0
        return tiles.mapIndexed { number, picture ->
            val tokens = known.remove(picture.digest) ?: encode(picture, watch) { show(State.Seeing(done++, all)) }
            known[picture.digest] = tokens
            while (known.size > pictures) known.remove(known.keys.first())
            watch.onPicture(number, picture, tokens)
            tokens
        }
    }

    private suspend fun encode(picture: Tiles, watch: Watch, progress: () -> Unit): FloatArray {
        val size = manifest.pictures.tokensPerTile * manifest.model.hidden
        val found = FloatArray(picture.tiles.size * size)
        for ((place, tile) in picture.tiles.withIndex()) {
            progress()
            val tokens = watch.step("vision") { engine.encode(tile) }
            if (tokens.size != size) {
                throw PhantomError.DamagedBundle("the vision part makes other tokens than its manifest says")
            }
            tokens.copyInto(found, place * size)
        }
        return found
    }

    /** Computes the prompt into the cache, and returns the logits of its last token. */
    private suspend fun prefill(
        ids: IntArray,
        tiles: List<Tiles>,
        encoded: List<FloatArray>,
        answer: Answer,
        watch: Watch,
    ): FloatArray {
        val hidden = manifest.model.hidden
        val rows = watch.timed("prefill") { engine.embed(ids) }
        val places = ids.map { Place(it, null) }.toMutableList()
        val images = ids.indices.filter { ids[it] == manifest.prompt.imageToken }.iterator()
        for ((picture, tokens) in tiles.zip(encoded)) {
            for (start in tokens.indices step hidden) {
                val place = images.next()
                tokens.copyInto(rows, place * hidden, start, start + hidden)
                places[place] = Place(ids[place], picture.digest)
            }
        }
        var same = 0
        while (same < minOf(held.size, places.size - 1) && held[same] == places[same]) same++
        answer.reusedTokens = same
        held = places.subList(0, same)
        var logits: FloatArray? = null
        var start = same
        while (start < ids.size) {
            show(State.Reading(start, ids.size))
            val count = minOf(manifest.prefillChunk, ids.size - start)
            val isLast = start + count == ids.size
            logits = watch.step("prefill") { engine.forward(rows, start, count, start, isLast) }
            start += count
            held = places.subList(0, start)
        }
        held = ArrayList(places)
        return checkNotNull(logits)
    }

    private suspend fun decode(
        prompt: IntArray,
        first: FloatArray,
        settings: Settings,
        answer: Answer,
        watch: Watch,
        write: suspend (String) -> Unit,
    ) {
        val begin = System.nanoTime()
        val choice = Choice(manifest.generation, manifest.prompt.stopTokens, prompt.size, settings)
        val soFar = prompt.toMutableList()
        val streamed = Streamed(tokenizer)
        var logits = first
        while (true) {
            currentCoroutineContext().ensureActive()
            watch.onLogits(logits)
            val token = watch.feed(watch.timed("choose") { choice.choose(soFar, logits) })
            answer.decodeSeconds = (System.nanoTime() - begin) / NANOS
            if (token in manifest.prompt.stopTokens) {
                answer.end = End.END_OF_TURN
                break
            }
            soFar.add(token)
            answer.tokens.add(token)
            show(State.Answering(answer.tokens.size))
            val piece = watch.timed("words") { streamed.add(token) }
            answer.text = streamed.text
            if (piece.isNotEmpty()) write(piece)
            if (answer.tokens.size >= settings.maxNewTokens) {
                answer.end = End.LENGTH
                break
            }
            if (held.size >= manifest.cache.maxContext) {
                answer.end = End.CONTEXT
                break
            }
            logits = watch.step("decode") {
                checkNotNull(engine.forward(engine.embed(intArrayOf(token)), 0, 1, held.size, true))
            }
            (held as MutableList<Place>).add(Place(token, null))
        }
        streamed.rest().let { if (it.isNotEmpty()) write(it) }
    }
}
