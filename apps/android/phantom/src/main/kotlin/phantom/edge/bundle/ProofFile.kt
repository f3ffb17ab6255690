package phantom.edge.bundle

import phantom.edge.Check
import phantom.edge.PhantomError
import phantom.edge.Proof
import phantom.edge.json.Fields
import phantom.edge.json.Node
import phantom.edge.json.WrongJson
import phantom.edge.json.parseJson
import phantom.edge.json.strictText
import java.io.IOException

internal const val PROOF = "proof.json"
private const val VERIFY = "verify it again: phantom-edge verify BUNDLE --record"
private const val MEGABYTES = 16
private val STAGES = arrayOf("vision", "prefill", "decode").let { plain ->
    plain + plain.map { "exact $it" } + plain.map { "strict $it" }
}
private val MEASURES = arrayOf("relative error", "absolute error", "divergence, nats", "other tokens")

/** Reads `proof.json`; null where the bundle has none. Raises PhantomError where it is damaged or another bundle's. */
internal fun readProof(bundle: BundleFolder): Proof? {
    val file = bundle.file(PROOF)
    if (!file.exists()) return null
    try {
        if (!file.isFile || file.length() > MEGABYTES shl 20) throw WrongJson("it is no proof")
        val text = strictText(file.readBytes())
        val manifest = bundle.manifest
        return Node("", parseJson(text)).fields {
            if (get("seal").string() != sealOf(text, get("seal").string())) {
                throw WrongJson("it is not the file that was recorded: its seal does not fit")
            }
            if (get("bundle").string() != manifest.seal) throw WrongJson("it is the proof of another bundle")
            get("proof").fields { proof(manifest.model) }
        }
    } catch (error: WrongJson) {
        throw PhantomError.DamagedBundle("$file: ${error.message}", VERIFY, error)
    } catch (error: IOException) {
        throw PhantomError.DamagedBundle("$file cannot be read (${error.message})", VERIFY, error)
    }
}

private fun Fields.proof(model: Model): Proof {
    skip("hazards", "layers") // of targets that are not run here
    val checks = get("checks").list().map { one -> one.fields { comparison() } }
    return Proof(model.name, model.fingerprint, checks, get("left_out").strings())
}

/** A case, and the form that was checked where a bundle has several. */
private fun place(case: String, form: String) = if (form.isEmpty()) case else "$case, $form"

private fun Fields.comparison() = Check(
    get("stage").oneOf(*STAGES),
    place(get("case").string(), find("form")?.string().orEmpty()),
    get("measure").oneOf(*MEASURES),
    get("value").orNull { double() },
    get("bound").orNull { double() },
)
