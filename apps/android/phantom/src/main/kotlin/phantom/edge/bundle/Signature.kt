package phantom.edge.bundle

import phantom.edge.PhantomError
import phantom.edge.json.WrongJson
import phantom.edge.json.strictText
import java.io.File
import java.io.IOException
import java.security.GeneralSecurityException
import java.security.KeyFactory
import java.security.NoSuchAlgorithmException
import java.security.Signature
import java.security.SignatureException
import java.security.spec.X509EncodedKeySpec
import java.util.Base64

private const val NUMBER = 8
private const val KEY = 32
private const val SIGNED = 64
private const val LARGEST = 10_000L
private const val TRUSTED = "trusted comment: "
private const val ED25519 = "Ed25519"
private const val SIGN = "phantom-edge export --sign KEY"
private const val AGAIN = "do not use it; ask its maker for the bundle, or for the key that it is signed with"

/** What stands before an Ed25519 key in the form that Java reads (RFC 8410). */
private val PREFIX = byteArrayOf(0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00)

/** A public key of minisign: an Ed25519 key with its [number]. */
internal class PublicKey private constructor(val number: ByteArray, val key: ByteArray) {
    /** The number as minisign prints it. */
    val name: String get() = nameOf(number)

    companion object {
        /** Reads the text of `KEY.pub`, or its last line alone. Raises [PhantomError.BadQuestion] for another text. */
        fun read(text: String): PublicKey {
            try {
                val raw = decoded(text.trim().lines().last(), 2 + NUMBER + KEY)
                if (String(raw, 0, 2, Charsets.ISO_8859_1) != "Ed") throw Foreign("it is of another algorithm")
                return PublicKey(raw.copyOfRange(2, 2 + NUMBER), raw.copyOfRange(2 + NUMBER, raw.size))
            } catch (error: Foreign) {
                throw PhantomError.BadQuestion(
                    "the key is no public key of minisign (${error.message})",
                    "give the text of the public key of whom you trust, such as KEY.pub",
                )
            }
        }
    }
}

/** Text that is none of minisign's. */
private class Foreign(message: String) : Exception(message)

/**
 * Compares the signature of a bundle, whose manifest has these bytes, with a key; returns the trusted comment.
 *
 * Raises [PhantomError.Untrusted] for a bundle without a signature, and for one of another key or another manifest.
 */
internal fun checkSignature(folder: File, manifest: ByteArray, key: PublicKey): String {
    val path = File(folder, "$MANIFEST.minisig")
    if (!path.exists()) {
        throw PhantomError.Untrusted("$folder is not signed", "ask its maker for one made by: $SIGN")
    }
    val lines = linesOf(path)
    val (raw, whole) = try {
        if (lines.size != 4) throw Foreign("it has ${lines.size} lines instead of 4")
        val first = decoded(lines[1], 2 + NUMBER + SIGNED)
        if (String(first, 0, 2, Charsets.ISO_8859_1) != "ED" || !lines[2].startsWith(TRUSTED)) {
            throw Foreign("it is of another kind")
        }
        first to decoded(lines[3], SIGNED)
    } catch (error: Foreign) {
        throw PhantomError.Untrusted("$path is no signature of minisign (${error.message})", AGAIN)
    }
    val number = raw.copyOfRange(2, 2 + NUMBER)
    if (!number.contentEquals(key.number)) {
        throw PhantomError.Untrusted("$folder is signed with another key: ${nameOf(number)}, not ${key.name}", AGAIN)
    }
    val signature = raw.copyOfRange(2 + NUMBER, raw.size)
    val comment = lines[2].removePrefix(TRUSTED)
    if (!isSigned(key, blake2b(manifest), signature) || !isSigned(key, signature + comment.toByteArray(), whole)) {
        throw PhantomError.Untrusted("$folder is not what the owner of key ${key.name} signed", AGAIN)
    }
    return comment
}

private fun isSigned(key: PublicKey, message: ByteArray, signature: ByteArray): Boolean = try {
    val public = KeyFactory.getInstance(ED25519).generatePublic(X509EncodedKeySpec(PREFIX + key.key))
    Signature.getInstance(ED25519).run {
        initVerify(public)
        update(message)
        verify(signature)
    }
} catch (_: NoSuchAlgorithmException) {
    throw PhantomError.Unsupported(
        "this device has no $ED25519, by which signatures are checked",
        "add a provider that has it, such as Bouncy Castle's: Security.insertProviderAt(BouncyCastleProvider(), 1)",
    )
} catch (_: SignatureException) {
    false // numbers out of range
} catch (error: GeneralSecurityException) {
    throw PhantomError.BadQuestion("the key ${key.name} is none (${error.message})", "give the key of whom you trust")
}

private fun linesOf(path: File): List<String> {
    val text = try {
        if (!path.isFile || path.length() > LARGEST) throw IOException("it is no signature")
        strictText(path.readBytes())
    } catch (error: IOException) {
        throw PhantomError.Untrusted("$path cannot be read (${error.message})", AGAIN)
    } catch (error: WrongJson) {
        throw PhantomError.Untrusted("$path cannot be read (${error.message})", AGAIN)
    }
    if (text.isEmpty()) throw PhantomError.Untrusted("$path is empty", AGAIN)
    return text.removeSuffix("\n").removeSuffix("\r").lines()
}

private fun decoded(line: String, size: Int): ByteArray {
    val raw = try {
        Base64.getDecoder().decode(line)
    } catch (_: IllegalArgumentException) {
        throw Foreign("it is no base64")
    }
    if (raw.size != size) throw Foreign("it has ${raw.size} bytes instead of $size")
    return raw
}

private fun nameOf(number: ByteArray): String = hexadecimal(number.reversedArray()).uppercase()
