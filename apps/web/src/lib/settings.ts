import { PhantomError } from "./errors.js";

/** Rules for the tokens of an answer. */
export interface Settings {
  /** Largest number of tokens of an answer; 256 unless given. */
  readonly maxNewTokens?: number;
  /** 0, unless given, is greedy: the likeliest token. Otherwise logits are divided by it. */
  readonly temperature?: number;
  /** Share of the likeliest tokens that sampling chooses from; 1 unless given. */
  readonly topP?: number;
  /** Number of the likeliest tokens that sampling chooses from; 0, unless given: all. */
  readonly topK?: number;
  /** Seed of sampling, a whole number below 2 ** 32; another one each time unless given. */
  readonly seed?: number;
}

/** Settings of which none is left open. */
export type Complete = Required<Settings>;

const [COLDEST, HOTTEST] = [1e-4, 1e4];

/** The settings with their defaults. Raises PhantomError for impossible ones. */
export function completed(settings: Settings = {}): Complete {
  const found: Complete = {
    maxNewTokens: settings.maxNewTokens ?? 256,
    temperature: settings.temperature ?? 0,
    topP: settings.topP ?? 1,
    topK: settings.topK ?? 0,
    seed: settings.seed ?? crypto.getRandomValues(new Uint32Array(1))[0]!,
  };
  const { maxNewTokens, temperature, topP, topK, seed } = found;
  const isWarm = temperature >= COLDEST && temperature <= HOTTEST;
  const rules: [boolean, string, string][] = [
    [Number.isInteger(maxNewTokens) && maxNewTokens >= 1, `maxNewTokens is ${maxNewTokens}`, "give 1 or more"],
    [temperature === 0 || isWarm, `temperature is ${temperature}`, `give 0 (greedy), or ${COLDEST} to ${HOTTEST}`],
    [topP > 0 && topP <= 1, `topP is ${topP}`, "give more than 0 and at most 1"],
    [Number.isInteger(topK) && topK >= 0, `topK is ${topK}`, "give 0 (off) or more"],
    [Number.isInteger(seed) && seed >= 0 && seed < 2 ** 32, `seed is ${seed}`, "give 0 to 4294967295"],
  ];
  for (const [holds, problem, remedy] of rules) if (!holds) throw new PhantomError("bad question", problem, remedy);
  return found;
}
