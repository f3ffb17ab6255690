import { PhantomError } from "./errors.js";
import type { Generation } from "./manifest.js";
import type { Complete } from "./settings.js";

const BANNED = Number.NEGATIVE_INFINITY;

/** Chooses the next token: the checkpoint's settings change the logits, then the program's pick one. */
export class Choice {
  private readonly random: () => number;

  constructor(
    private readonly generation: Generation,
    private readonly stopTokens: readonly number[],
    private readonly promptTokens: number,
    private readonly settings: Complete,
  ) {
    this.random = randomOf(settings.seed);
  }

  /** The token behind `ids`, of prompt and answer so far; `logits` are changed. */
  choose(ids: readonly number[], logits: Float32Array): number {
    if (!logits.every(Number.isFinite)) {
      throw new PhantomError(
        "failed",
        "the bundle computed logits that are not finite",
        "run: phantom-edge verify BUNDLE --golden",
      );
    }
    this.constrain(ids, logits);
    const best = likeliest(logits);
    if (logits[best] === BANNED) {
      throw new PhantomError(
        "unsupported",
        "the settings of this bundle ban every token at this place of the answer",
        "loosen no_repeat_ngram_size or suppress_tokens in generation_config.json and export again",
      );
    }
    return this.settings.temperature === 0 ? best : this.sample(logits);
  }

  private constrain(ids: readonly number[], logits: Float32Array): void {
    const { generation, stopTokens } = this;
    const ban = (banned: readonly number[]) => {
      for (const id of banned) logits[id] = BANNED;
    };
    if (generation.repetitionPenalty !== 1) {
      const penalty = Math.fround(generation.repetitionPenalty);
      for (const id of new Set(ids)) logits[id] = logits[id]! < 0 ? logits[id]! * penalty : logits[id]! / penalty;
    }
    if (generation.noRepeatNgram > 0) ban(completing(ids, generation.noRepeatNgram));
    const answered = ids.length - this.promptTokens;
    if (ids.length < generation.minLength || answered < generation.minNewTokens) ban(stopTokens);
    ban(generation.suppressTokens);
    if (answered === 0) ban(generation.beginSuppressTokens);
  }

  private sample(logits: Float32Array): number {
    const { temperature, topK, topP } = this.settings;
    const all = Array.from(logits.keys()).sort((one, other) => logits[other]! - logits[one]!);
    const order = topK > 0 ? all.slice(0, topK) : all;
    const weights = order.map((id) => Math.exp((logits[id]! - logits[order[0]!]!) / temperature));
    const limit = topP * weights.reduce((sum, one) => sum + one, 0);
    let [kept, reached] = [0, 0];
    while (kept < order.length && (kept === 0 || reached < limit)) reached += weights[kept++]!;
    let left = this.random() * reached;
    for (let place = 0; place < kept; place++) {
      left -= weights[place]!;
      if (left < 0 && weights[place]! > 0) return order[place]!;
    }
    return order[0]!;
  }
}

/** The likeliest token, of equally likely ones the first. */
function likeliest(logits: Float32Array): number {
  let best = 0;
  for (let id = 1; id < logits.length; id++) if (logits[id]! > logits[best]!) best = id;
  return best;
}

/** Tokens that would complete a sequence of `length` tokens that has occurred. */
function completing(ids: readonly number[], length: number): number[] {
  const found: number[] = [];
  const tail = ids.slice(ids.length - (length - 1));
  for (let start = 0; start + length <= ids.length; start++) {
    if (tail.every((id, place) => ids[start + place] === id)) found.push(ids[start + length - 1]!);
  }
  return found;
}

/** Random numbers from 0 to 1, alike for the same seed (mulberry32). */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
