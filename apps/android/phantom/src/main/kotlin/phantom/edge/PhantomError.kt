package phantom.edge

/**
 * An error that a developer or a user can correct.
 *
 * @property problem The fault in one line.
 * @property remedy A choice to make, or a command to paste.
 */
public sealed class PhantomError(public val problem: String, public val remedy: String, cause: Throwable? = null) :
    Exception("$problem\n  $remedy", cause) {
    /** A bundle whose files are absent, damaged, or contradict each other. */
    public class DamagedBundle(problem: String, remedy: String = EXPORT_AGAIN, cause: Throwable? = null) :
        PhantomError(problem, remedy, cause)

    /** A bundle that is not signed with the key that was given. */
    public class Untrusted(problem: String, remedy: String) : PhantomError(problem, remedy)

    /** A bundle, or a part of one, that this library cannot run exactly. */
    public class Unsupported(problem: String, remedy: String) : PhantomError(problem, remedy)

    /** A bundle that needs more memory than there is. */
    public class TooLarge(problem: String, remedy: String) : PhantomError(problem, remedy)

    /** A picture that cannot be read. */
    public class BadPicture(problem: String, remedy: String, cause: Throwable? = null) :
        PhantomError(problem, remedy, cause)

    /** A question, a conversation or a setting that no answer can follow. */
    public class BadQuestion(problem: String, remedy: String) : PhantomError(problem, remedy)

    /** A failure of ONNX Runtime, or numbers that are none. */
    public class Failed(problem: String, remedy: String, cause: Throwable? = null) :
        PhantomError(problem, remedy, cause)

    /** The use of a closed [Phantom]. */
    public class Closed : PhantomError("this Phantom is closed", "open the bundle again: Phantom.open(folder)")

    internal companion object {
        const val EXPORT_AGAIN = "export it again: phantom-edge export"
        const val UPDATE = "update this library, or export again with the version of phantom-edge that belongs to it"
    }
}
