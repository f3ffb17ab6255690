import kotlinx.coroutines.runBlocking
import phantom.edge.Machine
import phantom.edge.Options
import phantom.edge.profile.profileOnRequest
import java.io.File

/** The process of the demo app on a phone that is made of software: the library's own measurement, on this machine. */
fun main(arguments: Array<String>) {
    val (folder, wish) = arguments
    runBlocking {
        profileOnRequest(File(folder), wish, Options(machine = Machine(kind = "android"))) { line ->
            println(line)
            System.out.flush()
        }
    }
}
