import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { decoded } from "../src/lib/images.js";
import type { EngineName } from "../src/lib/manifest.js";
import { ofRgba, type Pixels } from "../src/lib/pixels.js";
import type { Message } from "../src/lib/text.js";

/** The files that scripts/conformance.py writes. */
export const MADE = process.env.PHANTOM_GOLDEN ?? fileURLToPath(new URL("../../golden/made", import.meta.url));

export function bytesOf(name: string): Uint8Array<ArrayBuffer> {
  const path = `${MADE}/${name}`;
  if (!existsSync(path)) throw new Error(`${path} is missing; run: python scripts/conformance.py`);
  return new Uint8Array(readFileSync(path));
}

export function jsonOf<T>(name: string): T {
  return JSON.parse(new TextDecoder().decode(bytesOf(name)));
}

/** A question of the conformance data. */
export interface Asked {
  readonly messages: readonly Message[];
  readonly pictures: readonly string[];
  readonly max_new_tokens: number;
}

/** What a Python session noted of an answer. */
export interface Noted {
  readonly text: string;
  readonly ids: readonly number[];
  readonly pieces: readonly string[];
  readonly prompt_tokens: number;
  readonly reused_tokens: number;
  readonly end: string;
}

export interface Answers {
  readonly asked: readonly Asked[];
  readonly answers: Readonly<Record<string, readonly Noted[]>>;
}

/** A form of target web, the engine it is for, and what a Python session noted of its answers. */
export interface WebForm {
  readonly engine: EngineName;
  readonly asked: readonly Asked[];
  readonly answers: readonly Noted[];
}

/** A bundle that must be refused: the form int4 with the files of a folder over it, and without those missing. */
export interface Damage {
  readonly name: string;
  readonly folder: string;
  readonly missing: readonly string[];
  readonly says: string;
}

/** A picture of the conformance data, and what a reader must make of it. */
export interface Known {
  readonly file: string;
  readonly is_exact: boolean;
  readonly width: number;
  readonly height: number;
  readonly pixels: string;
  readonly grid: readonly number[];
  readonly tiles: readonly string[];
}

export const PICTURES: readonly Known[] = jsonOf<{ pictures: Known[] }>("pictures.json").pictures;

/** The pixels of a picture; of one that browsers decode those that Python found. */
export async function pixelsOf({ file, is_exact, width, height }: Known): Promise<Pixels> {
  if (is_exact) return decoded(bytesOf(`pictures/${file}`));
  const rgb = bytesOf(`pictures/${file}.rgb`);
  const rgba = Uint8Array.from({ length: 4 * width * height }, (_, at) =>
    at % 4 === 3 ? 255 : rgb[3 * Math.floor(at / 4) + (at % 4)]!,
  );
  return ofRgba(width, height, rgba);
}
