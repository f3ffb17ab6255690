import type { Answer, End, EngineName, Message } from "../lib/index.js";

/** Measurements of an answer. */
export interface Figures {
  readonly engine: EngineName;
  readonly secondsToFirstToken: number;
  readonly tokensPerSecond: number;
  readonly tokens: number;
  readonly promptTokens: number;
  readonly reusedTokens: number;
  readonly end: End;
}

/** A question with its pictures, and its answer. */
export interface Turn {
  readonly id: number;
  readonly question: string;
  readonly pictures: readonly Blob[];
  answer: string;
  /** Null before the answer has ended. */
  figures: Figures | null;
}

export function figuresOf(answer: Answer, engine: EngineName): Figures {
  const { ids, promptTokens, reusedTokens, end } = answer.facts;
  const { secondsToFirstToken, tokensPerSecond } = answer;
  return { engine, secondsToFirstToken, tokensPerSecond, tokens: ids.length, promptTokens, reusedTokens, end };
}

/** The turns that a next question goes on from: those that were answered. */
function answered(turns: readonly Turn[]): Turn[] {
  return turns.filter((one) => one.answer !== "");
}

/** A prompt as the library takes it. */
export interface Asked {
  readonly messages: readonly Message[];
  readonly pictures: readonly Blob[];
}

function asked(question: string, pictures: readonly Blob[], mark: string): Message {
  return { role: "user", content: mark.repeat(pictures.length) + question };
}

/** The whole conversation up to the question of `last`, with a mark in the place of each picture. */
export function together(earlier: readonly Turn[], last: Turn, mark: string): Asked {
  const before = answered(earlier).flatMap((one): Message[] => [
    asked(one.question, one.pictures, mark),
    { role: "assistant", content: one.answer },
  ]);
  const messages = [...before, asked(last.question, last.pictures, mark)];
  return { messages, pictures: [...answered(earlier), last].flatMap((one) => one.pictures) };
}

/** The question of `last` by itself, about its pictures or, where it has none, those before it. */
export function alone(earlier: readonly Turn[], last: Turn, mark: string): Asked {
  const pictures = [...earlier, last].findLast((one) => one.pictures.length > 0)?.pictures ?? [];
  return { messages: [asked(last.question, pictures, mark)], pictures };
}

export const ENGINES: Readonly<Record<EngineName, string>> = { wasm: "WebAssembly", webgpu: "WebGPU" };

const ENDS: Readonly<Record<End, string>> = {
  "end of turn": "",
  interrupted: "stopped",
  length: "longest answer reached",
  context: "the conversation is full",
};

/** The measurements in words. */
export function spoken(figures: Figures): string {
  const { secondsToFirstToken, tokensPerSecond, tokens, promptTokens, reusedTokens } = figures;
  const parts = [
    ...(tokens > 0 ? [`first token ${seconds(secondsToFirstToken)}`] : []),
    ...(tokensPerSecond > 0 ? [`${tokensPerSecond.toFixed(tokensPerSecond < 10 ? 1 : 0)} tokens/s`] : []),
    ...(tokens > 0 ? [`${tokens} ${tokens === 1 ? "token" : "tokens"}`] : []),
    ...(reusedTokens > 0 ? [`${reusedTokens} of ${promptTokens} prompt tokens reused`] : []),
    ENGINES[figures.engine],
    ENDS[figures.end],
  ];
  return parts.filter(Boolean).join(" · ");
}

function seconds(value: number): string {
  return value < 1 ? `${Math.round(1000 * value)} ms` : `${value.toFixed(1)} s`;
}
