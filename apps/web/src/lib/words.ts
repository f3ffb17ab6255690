import { Tokenizer } from "@huggingface/tokenizers";
import { damaged, EXPORT_AGAIN, PhantomError, reasonOf } from "./errors.js";

/** Letter that stands for bytes that are no UTF-8: a text that ends with it ends within a letter. */
const PARTIAL = "\ufffd";

/** A bundle's tokenizer: texts to ids without special tokens, and back without those that it skips. */
export class Words {
  private readonly inner: Tokenizer;

  constructor(document: object) {
    this.inner = new Tokenizer(document, {});
    correctBytes(this.inner.decoder);
    correctAdded(this.inner);
  }

  encode(text: string): number[] {
    return text === "" ? [] : [...this.inner.encode(text, { add_special_tokens: false }).ids];
  }

  decode(ids: readonly number[]): string {
    const plainly = { skip_special_tokens: true, clean_up_tokenization_spaces: false };
    return ids.length === 0 ? "" : this.inner.decode([...ids], plainly);
  }

  tokenOf(id: number): string {
    return this.inner.id_to_token(id) ?? `token ${id}`;
  }
}

/** The tokenizer in the text of a file. Raises PhantomError for another file. */
export function readTokenizer(text: string, file: string): Words {
  let document: { added_tokens?: { content?: unknown; single_word?: unknown }[] };
  let words: Words;
  try {
    document = JSON.parse(text);
    words = new Words(document);
  } catch (error) {
    throw damaged(`${file} is no tokenizer (${reasonOf(error)})`, EXPORT_AGAIN, error);
  }
  const alone = document.added_tokens?.find((one) => one.single_word);
  if (alone === undefined) return words;
  throw new PhantomError(
    "unsupported",
    `${file} has a token that counts only where it stands alone, ${alone.content}, which is not read so here`,
    "run the bundle with phantom-edge, or its apps for phones",
  );
}

type Decoder = NonNullable<Tokenizer["decoder"]>;

/**
 * Gives decoders of single bytes the rule of Hugging Face's tokenizers in Rust: of bytes in a row that are no UTF-8
 * together, each becomes U+FFFD. The package keeps those letters that are whole, and drops U+FEFF.
 */
function correctBytes(decoder: Decoder | null): void {
  if (decoder === null) return;
  for (const one of (decoder as Decoder & { decoders?: Decoder[] }).decoders ?? []) correctBytes(one);
  if (decoder.config.type === "ByteFallback") decoder.decode_chain = withBytes;
}

/** Gives added tokens in decoding the text that the normalizer makes of them, as Hugging Face's in Rust has it. */
function correctAdded(tokenizer: Tokenizer): void {
  const { normalizer, model } = tokenizer;
  for (const [id, token] of tokenizer.get_added_tokens_decoder()) {
    if (token.normalized && !token.special && normalizer && model)
      model.vocab[id] = normalizer.normalize(token.content);
  }
}

const BYTE = /^<0x([0-9A-Fa-f]{2})>$/;

function withBytes(tokens: string[]): string[] {
  const found: string[] = [];
  let bytes: number[] = [];
  const close = () => {
    if (bytes.length > 0) found.push(lettersOf(bytes));
    bytes = [];
  };
  for (const token of tokens) {
    const byte = BYTE.exec(token);
    if (byte) {
      bytes.push(Number.parseInt(byte[1]!, 16));
    } else {
      close();
      found.push(token);
    }
  }
  close();
  return found;
}

function lettersOf(bytes: readonly number[]): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Uint8Array.from(bytes));
  } catch {
    return PARTIAL.repeat(bytes.length);
  }
}

/**
 * The text of an answer that grows token by token, in pieces of whole letters.
 *
 * All tokens are decoded each time: with byte fallback, a letter may still change when more bytes come.
 */
export class Streamed {
  private readonly ids: number[] = [];
  private shown = 0; // code points
  text = "";

  constructor(private readonly words: Words) {}

  /** The piece that a token completes, empty where the text ends within a letter. */
  add(token: number): string {
    this.ids.push(token);
    this.text = this.words.decode(this.ids);
    return this.text.endsWith(PARTIAL) ? "" : this.rest();
  }

  /** The text beyond the pieces so far. */
  rest(): string {
    const letters = [...this.text];
    const piece = letters.slice(this.shown).join("");
    this.shown = Math.max(this.shown, letters.length);
    return piece;
  }
}
