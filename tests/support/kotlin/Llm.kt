// Signatures of ExecuTorch's runner for Android (1.4) that programs use: Maven Central has no executorch-android.
package org.pytorch.executorch.extension.llm

import java.io.Closeable
import java.nio.ByteBuffer

interface LlmCallback {
    fun onResult(result: String)
}

class LlmModule(modelType: Int, modulePath: String, tokenizerPath: String, temperature: Float) : Closeable {
    val given = listOf(modelType, modulePath, tokenizerPath, temperature)
    fun load(): Unit = TODO()
    fun prefillPrompt(prompt: String): Unit = TODO(prompt)
    fun prefillImages(image: ByteBuffer, width: Int, height: Int, channels: Int): Unit = TODO("$image $width $height $channels")
    fun generate(prompt: String, seqLen: Int, llmCallback: LlmCallback, echo: Boolean): Unit = TODO("$prompt $seqLen $echo")
    override fun close(): Unit = TODO()

    companion object {
        const val MODEL_TYPE_TEXT_VISION = 2
    }
}
