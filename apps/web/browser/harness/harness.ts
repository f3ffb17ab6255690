import { readPicture } from "../../src/lib/images.js";
import { type EngineName, Phantom, PhantomError, removeStored } from "../../src/lib/index.js";
import type { Pictures } from "../../src/lib/manifest.js";
import { over } from "../../src/lib/pixels.js";
import { sha256 } from "../../src/lib/sha256.js";
import { cutTiles } from "../../src/lib/tiling.js";
import type { Asked, Known, Noted } from "../../tests/conformance.js";

/** A picture as this browser reads it. */
export interface Read {
  readonly size: readonly number[];
  readonly grid: readonly number[];
  readonly tiles: readonly string[];
  /** Largest difference of a level from Python's pixels. */
  readonly levels: number;
}

async function fileOf(name: string): Promise<Blob> {
  return (await fetch(`./made/pictures/${name}`)).blob();
}

/** Asks in one conversation after the other, and notes what a Python session would note. */
async function notes(address: string, engine: EngineName, asked: readonly Asked[]): Promise<Noted[]> {
  const phantom = await Phantom.open(address, { engine });
  const found: Noted[] = [];
  for (const one of asked) {
    const shown = await Promise.all(one.pictures.map(fileOf));
    const answer = phantom.reply(one.messages, shown, { maxNewTokens: one.max_new_tokens });
    const pieces: string[] = [];
    for await (const piece of answer) pieces.push(piece.text);
    const { text, ids, promptTokens, reusedTokens, end } = answer.facts;
    found.push({ text, ids, pieces, prompt_tokens: promptTokens, reused_tokens: reusedTokens, end });
  }
  phantom.close();
  return found;
}

async function picture(known: Known, rules: Pictures): Promise<Read> {
  const pixels = await readPicture(await fileOf(known.file));
  const rgb = over(pixels, rules.background);
  let levels = (await sha256(rgb)) === known.pixels ? 0 : 255;
  if (levels > 0 && !known.is_exact) {
    const wanted = new Uint8Array(await (await fileOf(`${known.file}.rgb`)).arrayBuffer());
    levels =
      wanted.length === rgb.length
        ? wanted.reduce((most, one, at) => Math.max(most, Math.abs(one - rgb[at]!)), 0)
        : 255;
  }
  const { grid, tiles } = await cutTiles(pixels, rules);
  return { size: [pixels.width, pixels.height], grid, tiles: await Promise.all(tiles.map(sha256)), levels };
}

/** The refusal of a bundle. */
async function refusal(address: string): Promise<{ problem: string; remedy: string } | string> {
  try {
    (await Phantom.open(address, { engine: "wasm" })).close();
    return "it was opened";
  } catch (error) {
    if (error instanceof PhantomError) return { problem: error.problem, remedy: error.remedy };
    return `${error}`;
  }
}

/** Differences that the self-test finds. */
async function selfTest(address: string, engine: EngineName): Promise<{ findings: number; wrong: string[] }> {
  const phantom = await Phantom.open(address, { engine });
  const { findings } = await phantom.selfTest();
  phantom.close();
  const wrong = findings.filter((one) => !one.passed).map((one) => `${one.name}: ${one.found}, not ${one.expected}`);
  return { findings: findings.length, wrong };
}

/** Bytes of the page and its worker, WebAssembly's memory among them, before and after so many more questions. */
async function memory(address: string, asked: readonly Asked[], count: number): Promise<[number, number]> {
  const phantom = await Phantom.open(address, { engine: "wasm" });
  const shown = await Promise.all(asked.map((one) => Promise.all(one.pictures.map(fileOf))));
  const ask = async (turns: number) => {
    for (let turn = 0; turn < turns; turn++) {
      const at = turn % asked.length;
      const answer = phantom.reply(asked[at]!.messages, shown[at]!, { maxNewTokens: asked[at]!.max_new_tokens });
      for await (const _ of answer);
    }
    return (await (performance as unknown as Measured).measureUserAgentSpecificMemory()).bytes;
  };
  const found: [number, number] = [await ask(asked.length), await ask(count)];
  phantom.close();
  return found;
}

interface Measured {
  measureUserAgentSpecificMemory(): Promise<{ bytes: number }>;
}

const harness = { memory, notes, picture, refusal, selfTest, removeStored };
export type Harness = typeof harness;
Object.assign(window, { harness });
