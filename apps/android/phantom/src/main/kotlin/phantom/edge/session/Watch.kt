package phantom.edge.session

import phantom.edge.pictures.Tiles

/** Sees what a session gives its engine and what it gets, and may choose tokens; one that does nothing is for answers. */
internal open class Watch {
    /** The rendered prompt, and its ids. */
    open fun onPrompt(text: String, ids: IntArray) = Unit

    /** The number of a picture, its tiles and its image tokens; a picture that is known is not encoded again. */
    open fun onPicture(number: Int, tiles: Tiles, tokens: FloatArray) = Unit

    /** The logits of a step, before any setting. */
    open fun onLogits(logits: FloatArray) = Unit

    /** The token to feed where the session has chosen one. */
    open fun feed(chosen: Int): Int = chosen

    /** The time of a stage: preprocess, words, vision, prefill, decode or choose. */
    open fun onStage(name: String, nanos: Long) = Unit
}
