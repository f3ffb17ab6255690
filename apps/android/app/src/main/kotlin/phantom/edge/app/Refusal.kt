package phantom.edge.app

import phantom.edge.PhantomError
import java.io.IOException

/**
 * An error of the app that a user can correct; those of the library are [PhantomError].
 *
 * @property problem The fault in one line.
 * @property remedy What to do.
 */
internal class Refusal(val problem: String, val remedy: String, cause: Throwable? = null) :
    Exception("$problem\n$remedy", cause)

/** Fault and remedy in two lines; null for an error that no user can correct. */
internal fun wordsOf(error: Throwable): String? = when (error) {
    is PhantomError -> "${error.problem}\n${error.remedy}"
    is Refusal -> "${error.problem}\n${error.remedy}"
    is IOException -> "a file cannot be read or written (${error.message})\nmake room in the storage and try again"
    is OutOfMemoryError -> "the memory is not enough\nclose other apps, or choose a smaller bundle"
    else -> null
}
