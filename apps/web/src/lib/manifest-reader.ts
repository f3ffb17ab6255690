import { refuseContradictions } from "./contradictions.js";
import { damaged, EXPORT_AGAIN, PhantomError } from "./errors.js";
import { formsOf } from "./forms.js";
import { type Fields, Node, Numeral, parseJson, strictText, type Value, WrongJson } from "./json.js";
import type { Manifest } from "./manifest.js";
import * as read from "./manifest-fields.js";
import { sha256 } from "./sha256.js";

export const MANIFEST = "phantom.json";
export const MOST_MANIFEST_BYTES = 1 << 26;
const PROOF = "proof.json";
const VERSION = "2";
const UPDATE = "update this library, or export again with the version of phantom-edge that belongs to it";
const TARGETS = ["onnx", "executorch", "coreml", "coreai", "jetson", "qnn", "web"] as const;
const PLAIN_NAME = /^[\p{L}\p{N}_-][\p{L}\p{N}_.-]*(\/[\p{L}\p{N}_-][\p{L}\p{N}_.-]*){0,8}$/u;

/** Reads the manifest of a bundle at `address`. Raises PhantomError for one that is damaged or of another version. */
export async function readManifest(bytes: Uint8Array, address: string): Promise<Manifest> {
  const path = `${address}${MANIFEST}`;
  try {
    const text = strictText(bytes);
    const document = parseJson(text);
    await checkSeal(path, document, text);
    const manifest = manifestOf(document, path);
    return manifest;
  } catch (error) {
    if (error instanceof WrongJson) throw damaged(`${path} cannot be read (${error.message})`, EXPORT_AGAIN, error);
    throw error;
  }
}

function manifestOf(document: Value, path: string): Manifest {
  try {
    const manifest = new Node("", document).fields(readFields);
    checkNames(manifest);
    return manifest;
  } catch (error) {
    if (error instanceof WrongJson) throw damaged(`${path}: ${error.message}`, EXPORT_AGAIN, error);
    throw error;
  }
}

async function checkSeal(path: string, document: Value, text: string): Promise<void> {
  if (typeof document !== "object" || document === null || !("seal" in document)) return;
  const { schema_version: version, seal } = document;
  if (version instanceof Numeral && version.isWhole && version.text !== VERSION) {
    throw new PhantomError(
      "unsupported",
      `${path} has schema version ${version.text}, this library reads ${VERSION}`,
      Number(version.text) > Number(VERSION) ? UPDATE : EXPORT_AGAIN,
    );
  }
  if (typeof seal !== "string") return;
  const zeros = text.replaceAll(`"seal": "${seal}"`, `"seal": "${"0".repeat(seal.length)}"`);
  if ((await sha256(new TextEncoder().encode(zeros))) !== seal) {
    throw damaged(`${path} is not the file that was exported: its seal does not fit`);
  }
}

/** Refuses names that leave the folder, and files that are used but not listed. */
function checkNames(manifest: Manifest): void {
  const parts = [...manifest.parts.values()];
  const { prompt, embedding, cache, golden, model, files } = manifest;
  const isFolder = (file: string) => parts.some((part) => part.weights.some((one) => one.startsWith(`${file}/`)));
  const used = [
    prompt.tokenizer,
    prompt.chatTemplate,
    ...[embedding?.file, cache.firstRow, golden, model.card].filter((name) => typeof name === "string"),
    ...parts.flatMap((part) => part.weights),
    ...parts.map((part) => part.file).filter((file) => !isFolder(file)),
  ];
  for (const name of used) if (!files.has(name)) throw new WrongJson(`'${name}' is used but not in files`);
  for (const name of files.keys()) {
    if (name === MANIFEST || name === PROOF) throw new WrongJson(`'${name}' is in files, where it cannot be listed`);
    if (!PLAIN_NAME.test(name)) throw new WrongJson(`'${name}' is no plain file name`);
  }
}

function readFields(fields: Fields): Manifest {
  const version = fields.get("schema_version");
  if (!(version.value instanceof Numeral) || version.value.text !== VERSION) {
    const shown = version.value instanceof Numeral ? version.value.text : String(version.value);
    throw new WrongJson(`schema_version is ${shown}, not ${VERSION}`);
  }
  fields.get("made_by").string();
  fields.get("tools").each((one) => one.string());
  const found: Omit<Manifest, "forms"> = {
    target: fields.get("target").oneOf(...TARGETS),
    model: fields.get("model").fields(read.model),
    parts: fields.get("parts").each((one) => one.fields(read.part)),
    embedding: fields.get("embedding").orNull((one) => one.fields(read.embedding)),
    cache: fields.get("cache").fields(read.cache),
    pictures: fields.get("pictures").fields(read.pictures),
    prompt: fields.get("prompt").fields(read.prompt),
    generation: fields.get("generation").fields(read.generation),
    phantom: fields
      .get("phantom")
      .list()
      .map((one) => one.fields(read.ranks)),
    prefillChunk: fields.get("prefill_chunk").int(),
    files: fields.get("files").each((one) => one.fields(read.file)),
    seal: fields.get("seal").string(),
    golden: fields.get("golden").orNull((one) => one.string()),
    recipe: fields.find("integers")?.orNull((one) => one.fields(read.integers)) ?? null,
  };
  const manifest = { ...found, forms: formsOf(found, fields.find("facts")) };
  fields.refuseOthers();
  refuseContradictions(fields, manifest);
  return manifest;
}
