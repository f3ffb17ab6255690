import { verifyAsync } from "@noble/ed25519";
import { blake2b } from "hash-wasm";
import { PhantomError } from "./errors.js";
import { MANIFEST } from "./manifest-reader.js";

export const SIGNATURE = `${MANIFEST}.minisig`;
/** Most bytes of a file of minisign's. */
export const MOST_SIGNATURE_BYTES = 10_000;

const TRUSTED = "trusted comment: ";
const AGAIN = "do not use it; ask its maker for the bundle, or for the key that it is signed with";
const [NUMBER, KEY, SIGNED] = [8, 32, 64];

/** A public key of minisign: an Ed25519 key with its number. */
export interface PublicKey {
  /** The number as minisign prints it. */
  readonly name: string;
  readonly key: Uint8Array;
}

/** Text that is none of minisign's. */
class Foreign extends Error {}

/** Reads the text of `KEY.pub`, or its last line alone. Raises PhantomError for any other text. */
export function readPublicKey(text: string): PublicKey {
  try {
    const raw = decoded(linesOf(text.trim()).at(-1)!, 2 + NUMBER + KEY);
    if (markOf(raw) !== "Ed") throw new Foreign("it is of another algorithm");
    return { name: nameOf(raw), key: raw.subarray(2 + NUMBER) };
  } catch (error) {
    if (!(error instanceof Foreign)) throw error;
    const remedy = "give the text of the public key of whom you trust, such as KEY.pub";
    throw new PhantomError("bad question", `the key is no public key of minisign (${error.message})`, remedy);
  }
}

/**
 * Compares the signature of a bundle, whose manifest has these bytes, with a key; gives the trusted comment.
 *
 * Raises PhantomError for a bundle without a signature, and for one of another key or another manifest.
 */
export async function checkSignature(
  address: string,
  manifest: Uint8Array,
  signature: Uint8Array | undefined,
  key: PublicKey,
): Promise<string> {
  if (signature === undefined) {
    const remedy = "ask its maker for one made by: phantom-edge export --sign KEY";
    throw new PhantomError("untrusted", `${address} is not signed`, remedy);
  }
  const [raw, comment, whole] = read(address + SIGNATURE, signature);
  const name = nameOf(raw);
  if (name !== key.name) throw untrusted(`${address} is signed with another key: ${name}, not ${key.name}`);
  const signed = raw.subarray(2 + NUMBER);
  const digest = bytesOfHex(await blake2b(manifest, 512));
  const together = new Uint8Array([...signed, ...new TextEncoder().encode(comment)]);
  if (!((await isSigned(key, digest, signed)) && (await isSigned(key, together, whole)))) {
    throw untrusted(`${address} is not what the owner of key ${key.name} signed`);
  }
  return comment;
}

function isSigned({ key }: PublicKey, message: Uint8Array, signature: Uint8Array): Promise<boolean> {
  return verifyAsync(signature, message, key, { zip215: false });
}

/** The signature of the manifest with its mark and number, the trusted comment, and the signature of both. */
function read(path: string, bytes: Uint8Array): [Uint8Array, string, Uint8Array] {
  if (bytes.length > MOST_SIGNATURE_BYTES) throw tooLong(path);
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw untrusted(`${path} cannot be read (it is no UTF-8)`);
  }
  if (text === "") throw untrusted(`${path} is empty`);
  const lines = linesOf(text);
  try {
    if (lines.length !== 4) throw new Foreign(`it has ${lines.length} lines instead of 4`);
    const raw = decoded(lines[1]!, 2 + NUMBER + SIGNED);
    if (markOf(raw) !== "ED" || !lines[2]!.startsWith(TRUSTED)) throw new Foreign("it is of another kind");
    return [raw, lines[2]!.slice(TRUSTED.length), decoded(lines[3]!, SIGNED)];
  } catch (error) {
    if (error instanceof Foreign) throw untrusted(`${path} is no signature of minisign (${error.message})`);
    throw error;
  }
}

/** The refusal of a file that is longer than any signature. */
export function tooLong(path: string): PhantomError {
  return untrusted(`${path} cannot be read (it is no signature)`);
}

function untrusted(problem: string): PhantomError {
  return new PhantomError("untrusted", problem, AGAIN);
}

function linesOf(text: string): string[] {
  return text.replace(/\r?\n$/, "").split(/\r?\n/);
}

function decoded(line: string, size: number): Uint8Array {
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(line) || line.length % 4 !== 0) throw new Foreign("it is no base64");
  const letters = atob(line);
  if (letters.length !== size) throw new Foreign(`it has ${letters.length} bytes instead of ${size}`);
  return Uint8Array.from(letters, (letter) => letter.charCodeAt(0));
}

function markOf(raw: Uint8Array): string {
  return String.fromCharCode(...raw.subarray(0, 2));
}

function nameOf(raw: Uint8Array): string {
  const number = [...raw.subarray(2, 2 + NUMBER)].reverse();
  return number.map((byte) => byte.toString(16).padStart(2, "0").toUpperCase()).join("");
}

function bytesOfHex(text: string): Uint8Array {
  return Uint8Array.from(text.match(/../g)!, (pair) => Number.parseInt(pair, 16));
}
