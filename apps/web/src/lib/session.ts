import { Choice } from "./choice.js";
import type { Engine } from "./engine.js";
import { damaged } from "./errors.js";
import type { Manifest } from "./manifest.js";
import type { Pixels } from "./pixels.js";
import type { Complete } from "./settings.js";
import { type Message, Prompts } from "./text.js";
import { cutTiles, type Tiles } from "./tiling.js";
import { Streamed, type Words } from "./words.js";

/** Number of pictures whose image tokens are kept. */
const REMEMBERED = 8;

/** The reason why an answer ended. */
export type End = "interrupted" | "end of turn" | "length" | "context";

/** Facts about an answer, which grow while it is written. */
export interface Facts {
  text: string;
  /** Token ids, without the one that ended the turn. */
  ids: number[];
  promptTokens: number;
  /** Tokens of the prompt that were in the cache already. */
  reusedTokens: number;
  /** Seconds for pictures, from the question on. */
  visionSeconds: number;
  /** Seconds for the prompt. */
  prefillSeconds: number;
  /** Seconds from the prompt's end to the last token. */
  decodeSeconds: number;
  end: End;
}

export function noFacts(): Facts {
  const seconds = { visionSeconds: 0, prefillSeconds: 0, decodeSeconds: 0 };
  return { text: "", ids: [], promptTokens: 0, reusedTokens: 0, ...seconds, end: "interrupted" };
}

/** What an open bundle does. */
export type State =
  | { readonly doing: "nothing" }
  /** It encodes pictures: tiles done, of all. */
  | { readonly doing: "seeing"; readonly done: number; readonly all: number }
  /** It reads a prompt: tokens done, of all, those in the cache included. */
  | { readonly doing: "reading"; readonly done: number; readonly all: number }
  /** It has written so many tokens of an answer. */
  | { readonly doing: "answering"; readonly done: number }
  /** It compares itself with the golden answers: questions done, of all. */
  | { readonly doing: "testing"; readonly done: number; readonly all: number };

/** Sees what a session gives its engine and what it gets, and may choose tokens. */
export interface Watch {
  onState?(state: State): void;
  /** The rendered prompt, and its ids. */
  onPrompt?(text: string, ids: readonly number[]): void;
  /** The number of a picture, its tiles and its image tokens. */
  onPicture?(number: number, tiles: Tiles, tokens: Float32Array): void;
  /** The logits of a step, before any setting. */
  onLogits?(logits: Float32Array): void;
  /** The token to feed where the session has chosen one. */
  feed?(chosen: number): number;
}

/** The content of a position of the cache: a token, and the digest of the picture that an image token is of. */
interface Place {
  readonly token: number;
  readonly picture: string;
}

/** A question on its way. */
interface Asked {
  readonly settings: Complete;
  readonly facts: Facts;
  readonly signal: AbortSignal;
  readonly watch: Watch;
  write(piece: string): void;
}

/**
 * Questions to a bundle, with one conversation in its cache at a time.
 *
 * The prefix that a new prompt shares with the cache is not computed again, and the image tokens of the latest pictures
 * are kept. Between any two runs of a graph an answer may be stopped.
 */
export class Session {
  private readonly prompts: Prompts;
  private held: Place[] = [];
  private readonly known = new Map<string, Float32Array>();

  constructor(
    readonly manifest: Manifest,
    readonly engine: Engine,
    private readonly words: Words,
    template: string,
  ) {
    this.prompts = new Prompts(manifest, words, template);
  }

  /** Empties the cache and the memory of pictures. */
  forget(): void {
    this.held = [];
    this.known.clear();
  }

  /** Answers the last message, piece by piece. Raises PhantomError, or the signal's reason once it is stopped. */
  async answer(messages: readonly Message[], shown: readonly Pixels[], asked: Asked): Promise<void> {
    const { facts, watch } = asked;
    const begin = performance.now();
    const rendered = this.prompts.render(messages, shown.length);
    const tiles: Tiles[] = [];
    for (const picture of shown) {
      await step(asked.signal);
      tiles.push(await cutTiles(picture, this.manifest.pictures));
    }
    const { tokensPerTile } = this.manifest.pictures;
    const ids = this.prompts.ids(
      rendered,
      tiles.map((one) => one.tiles.length * tokensPerTile),
    );
    watch.onPrompt?.(rendered, ids);
    facts.promptTokens = ids.length;
    const encoded = await this.encodeAll(tiles, asked);
    const seen = performance.now();
    facts.visionSeconds = (seen - begin) / 1000;
    const logits = await this.prefill(ids, tiles, encoded, asked);
    facts.prefillSeconds = (performance.now() - seen) / 1000;
    await this.decode(ids, logits, asked);
  }

  private async encodeAll(pictures: readonly Tiles[], asked: Asked): Promise<Float32Array[]> {
    const unknown = new Map(pictures.filter((one) => !this.known.has(one.digest)).map((one) => [one.digest, one]));
    const all = [...unknown.values()].reduce((sum, one) => sum + one.tiles.length, 0);
    let done = 0;
    const found: Float32Array[] = [];
    for (const [number, picture] of pictures.entries()) {
      const show = () => asked.watch.onState?.({ doing: "seeing", done: done++, all });
      const tokens = this.known.get(picture.digest) ?? (await this.encode(picture, asked.signal, show));
      this.known.delete(picture.digest); // the latest ones are last
      this.known.set(picture.digest, tokens);
      while (this.known.size > REMEMBERED) this.known.delete(this.known.keys().next().value!);
      asked.watch.onPicture?.(number, picture, tokens);
      found.push(tokens);
    }
    return found;
  }

  private async encode(picture: Tiles, signal: AbortSignal, show: () => void): Promise<Float32Array> {
    const size = this.manifest.pictures.tokensPerTile * this.manifest.model.hidden;
    const found = new Float32Array(picture.tiles.length * size);
    for (const [place, tile] of picture.tiles.entries()) {
      show();
      await step(signal);
      const tokens = await this.engine.encode(tile);
      if (tokens.length !== size) throw damaged("the vision part makes other tokens than its manifest says");
      found.set(tokens, place * size);
    }
    return found;
  }

  /** Computes the prompt into the cache. Gives the logits of its last token. */
  private async prefill(
    ids: readonly number[],
    tiles: readonly Tiles[],
    encoded: readonly Float32Array[],
    { facts, watch, signal }: Asked,
  ): Promise<Float32Array> {
    const { hidden } = this.manifest.model;
    const rows = this.engine.embed(ids);
    const places: Place[] = ids.map((token) => ({ token, picture: "" }));
    const images = ids.flatMap((id, place) => (id === this.manifest.prompt.imageToken ? [place] : []));
    let image = 0;
    for (const [number, tokens] of encoded.entries()) {
      for (let start = 0; start < tokens.length; start += hidden) {
        const place = images[image++]!;
        rows.set(tokens.subarray(start, start + hidden), place * hidden);
        places[place] = { token: ids[place]!, picture: tiles[number]!.digest };
      }
    }
    const same = this.shared(places);
    facts.reusedTokens = same;
    this.held = places.slice(0, same);
    let logits: Float32Array | null = null;
    let start = Math.max(same, this.engine.given);
    while (start < ids.length) {
      watch.onState?.({ doing: "reading", done: start, all: ids.length });
      const end = Math.min(start + this.manifest.prefillChunk, ids.length);
      await step(signal);
      logits = await this.engine.forward(rows.slice(start * hidden, end * hidden), start, end === ids.length);
      this.held = places.slice(0, end);
      start = end;
    }
    if (logits === null) throw damaged("a prompt of this bundle is one token long");
    return logits;
  }

  /** Number of positions that the cache holds already, at most all but the last. */
  private shared(places: readonly Place[]): number {
    const most = Math.min(this.held.length, places.length - 1);
    const isSame = (one: Place, other: Place) => one.token === other.token && one.picture === other.picture;
    let same = 0;
    while (same < most && isSame(this.held[same]!, places[same]!)) same++;
    return same;
  }

  private async decode(prompt: readonly number[], first: Float32Array, asked: Asked): Promise<void> {
    const { facts, watch, signal, settings } = asked;
    const { stopTokens } = this.manifest.prompt;
    const begin = performance.now();
    const choice = new Choice(this.manifest.generation, stopTokens, prompt.length, settings);
    const soFar = [...prompt];
    const streamed = new Streamed(this.words);
    const write = (piece: string) => {
      facts.text = streamed.text;
      if (piece !== "") asked.write(piece);
    };
    let logits = first;
    while (true) {
      watch.onLogits?.(logits);
      const chosen = choice.choose(soFar, logits);
      const token = watch.feed?.(chosen) ?? chosen;
      facts.decodeSeconds = (performance.now() - begin) / 1000;
      if (stopTokens.includes(token)) {
        facts.end = "end of turn";
        break;
      }
      soFar.push(token);
      facts.ids.push(token);
      watch.onState?.({ doing: "answering", done: facts.ids.length });
      write(streamed.add(token));
      if (facts.ids.length >= settings.maxNewTokens) {
        facts.end = "length";
        break;
      }
      if (this.held.length >= this.manifest.cache.maxContext) {
        facts.end = "context";
        break;
      }
      await step(signal);
      logits = (await this.engine.forward(this.engine.embed([token]), this.held.length, true))!;
      this.held.push({ token, picture: "" });
    }
    write(streamed.rest());
  }
}

/** Lets messages in before the run of a graph, among them the one that stops an answer. */
async function step(signal: AbortSignal): Promise<void> {
  await macrotask();
  signal.throwIfAborted();
}

/** The next macrotask: awaiting a run of WebAssembly gives microtasks only, in which no message is heard. */
export function macrotask(): Promise<void> {
  const { port1, port2 } = new MessageChannel();
  return new Promise((resolve) => {
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}
