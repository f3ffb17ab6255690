package phantom.edge.app

import org.junit.Assert.assertEquals
import org.junit.Test
import phantom.edge.app.device.uprightDegrees
import phantom.edge.app.store.Progress
import phantom.edge.app.store.Turn
import phantom.edge.app.talk.dialogue

internal class DialogueTest {
    private fun turn(question: String, picture: String?, answer: String, progress: Progress = Progress.DONE) =
        Turn(0, question, picture, answer, progress, null, 0)

    @Test
    fun `pictures have their mark, and turns without an answer are left out`() {
        val told = dialogue(
            listOf(
                turn("A?", "one", "a"),
                turn("B?", "two", "the memory is not enough", Progress.FAILED),
                turn("C?", null, "", Progress.INTERRUPTED),
                turn("D?", null, "d", Progress.STOPPED),
                turn("E <image>?", "three", "", Progress.RUNNING),
            ),
            "<image>",
        )
        val texts = told.messages.map { "${it.role}: ${it.text}" }
        val first = listOf("USER: <image>A?", "ASSISTANT: a", "USER: D?", "ASSISTANT: d")
        assertEquals(first + "USER: <image>E image?", texts)
        assertEquals(listOf("one", "three"), told.pictures)
    }

    @Test
    fun `frames are turned upright`() {
        assertEquals(90, uprightDegrees(90, 0, true))
        assertEquals(0, uprightDegrees(90, 90, true))
        assertEquals(180, uprightDegrees(90, 270, true))
        assertEquals(270, uprightDegrees(270, 0, false))
        assertEquals(0, uprightDegrees(270, 90, false))
    }

    @Test
    fun `an app without ONNX Runtime says so`() {
        for (error in listOf(UnsatisfiedLinkError("no onnxruntime"), RuntimeException("Failed to load"))) {
            val words = engineFault("arm64-v8a") { throw error }!!
            assert("without ONNX Runtime" in words && "--aar" in words) { words }
        }
        assertEquals(null, engineFault("arm64-v8a"))
    }
}
