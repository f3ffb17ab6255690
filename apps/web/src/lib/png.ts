import { reasonOf } from "./errors.js";
import { type Chunk, pngChunks } from "./orientation.js";
import { badPicture, checkSize, type Pixels } from "./pixels.js";

const [GREY, RGB, PALETTE, GREY_ALPHA, RGBA] = [0, 2, 3, 4, 6];
const CHANNELS: Readonly<Record<number, number>> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };
const DEPTHS: Readonly<Record<number, readonly number[]>> = {
  0: [1, 2, 4, 8, 16],
  2: [8, 16],
  3: [1, 2, 4, 8],
  4: [8, 16],
  6: [8, 16],
};
/** Adam7: first column and row of each pass, and its steps. */
const PASSES = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
] as const;

interface Header {
  readonly width: number;
  readonly height: number;
  readonly depth: number;
  readonly colour: number;
  readonly isInterlaced: boolean;
  readonly channels: number;
}

/** A part of the pixels: so many columns and rows, in lines behind each other. */
interface Pass {
  readonly left: number;
  readonly top: number;
  readonly across: number;
  readonly down: number;
  readonly wide: number;
  readonly high: number;
}

/**
 * Decodes a PNG of any colour type and depth, not turned, without colour management.
 *
 * Browsers differ: some apply profiles, and 16-bit grey is rounded by 1. Opaque grey of 16 bits becomes
 * floor(value / 257 + 0.5) here, other channels of 16 bits keep their high byte. Raises PhantomError.
 */
export async function decodePng(bytes: Uint8Array): Promise<Pixels> {
  const chunks = pngChunks(bytes);
  const header = headerOf(bytes, chunks);
  const passes = passesOf(header);
  const lineBytes = (wide: number) => Math.ceil((wide * header.channels * header.depth) / 8);
  const size = passes.reduce((sum, one) => sum + one.high * (1 + lineBytes(one.wide)), 0);
  const data = await inflated(bytes, chunks, size);
  const painter = new Painter(bytes, chunks, header);
  const step = Math.max((header.channels * header.depth) >> 3, 1);
  let at = 0;
  for (const pass of passes) {
    const length = lineBytes(pass.wide);
    let above = -1;
    for (let y = 0; y < pass.high; y++) {
      unfilter(data, data[at]!, at + 1, above, length, step);
      above = at + 1;
      at = above + length;
      const row = (pass.top + y * pass.down) * header.width + pass.left;
      for (let x = 0; x < pass.wide; x++) painter.paint(data, above, x, row + x * pass.across);
    }
  }
  return { width: header.width, height: header.height, rgb: painter.rgb, alpha: painter.alpha };
}

function broken(why: string, cause?: unknown): never {
  throw badPicture(`the PNG is damaged or cut short: ${why}`, "copy or download the file again", cause);
}

function headerOf(bytes: Uint8Array, chunks: readonly Chunk[]): Header {
  const first = chunks[0];
  if (first?.kind !== "IHDR" || first.end - first.start !== 13) return broken("no header");
  const view = new DataView(bytes.buffer, bytes.byteOffset + first.start, 13);
  const [width, height] = [view.getUint32(0), view.getUint32(4)];
  const [depth, colour] = [view.getUint8(8), view.getUint8(9)];
  if (!DEPTHS[colour]?.includes(depth)) return broken(`colour type ${colour} of ${depth} bits`);
  if (colour === PALETTE && !chunks.some((one) => one.kind === "PLTE")) return broken("no palette");
  checkSize(width, height);
  return { width, height, depth, colour, isInterlaced: view.getUint8(12) === 1, channels: CHANNELS[colour]! };
}

function passesOf({ width, height, isInterlaced }: Header): Pass[] {
  if (!isInterlaced) return [{ left: 0, top: 0, across: 1, down: 1, wide: width, high: height }];
  return PASSES.map(([left, top, across, down]) => ({
    ...{ left, top, across, down },
    wide: Math.ceil((width - left) / across),
    high: Math.ceil((height - top) / down),
  })).filter(({ wide, high }) => wide > 0 && high > 0);
}

async function inflated(bytes: Uint8Array, chunks: readonly Chunk[], size: number): Promise<Uint8Array> {
  const parts = chunks.filter((one) => one.kind === "IDAT").map(({ start, end }) => bytes.subarray(start, end));
  const found = new Uint8Array(size);
  const reader = new Blob(parts as Uint8Array<ArrayBuffer>[])
    .stream()
    .pipeThrough(new DecompressionStream("deflate"))
    .getReader();
  let filled = 0;
  try {
    while (filled < size) {
      const { value, done } = await reader.read();
      if (done) break;
      const part = value.subarray(0, size - filled);
      found.set(part, filled);
      filled += part.length;
    }
  } catch (error) {
    if (filled < size) broken(reasonOf(error), error);
  } finally {
    await reader.cancel().catch(() => undefined); // fails again where the data did
  }
  return filled < size ? broken("its pixels end too early") : found;
}

function unfilter(data: Uint8Array, filter: number, line: number, above: number, length: number, step: number): void {
  if (filter > 4) broken(`filter ${filter}`);
  if (filter === 0) return;
  for (let place = 0; place < length; place++) {
    const left = place >= step ? data[line + place - step]! : 0;
    const up = above >= 0 ? data[above + place]! : 0;
    const corner = above >= 0 && place >= step ? data[above + place - step]! : 0;
    const guess = filter === 1 ? left : filter === 2 ? up : filter === 3 ? (left + up) >> 1 : paeth(left, up, corner);
    data[line + place] = (data[line + place]! + guess) & 255;
  }
}

function paeth(left: number, up: number, corner: number): number {
  const sum = left + up - corner;
  const [toLeft, toUp, toCorner] = [Math.abs(sum - left), Math.abs(sum - up), Math.abs(sum - corner)];
  if (toLeft <= toUp && toLeft <= toCorner) return left;
  return toUp <= toCorner ? up : corner;
}

/** Writes pixels of lines into the picture. */
class Painter {
  readonly rgb: Uint8Array;
  readonly alpha: Uint8Array | null;
  private readonly palette: Uint8Array | undefined;
  private readonly clear: Uint8Array | undefined;

  constructor(
    bytes: Uint8Array,
    chunks: readonly Chunk[],
    private readonly header: Header,
  ) {
    const content = (kind: string) => {
      const found = chunks.find((one) => one.kind === kind);
      return found && bytes.subarray(found.start, found.end);
    };
    this.palette = content("PLTE");
    this.clear = content("tRNS");
    const { width, height, colour } = header;
    const hasAlpha = colour === GREY_ALPHA || colour === RGBA || this.clear !== undefined;
    this.rgb = new Uint8Array(3 * width * height);
    this.alpha = hasAlpha ? new Uint8Array(width * height).fill(255) : null;
  }

  paint(data: Uint8Array, line: number, x: number, at: number): void {
    const { colour, channels, depth } = this.header;
    const first = this.stored(data, line, x, 0);
    if (colour === PALETTE) {
      this.paintEntry(first, at);
      return;
    }
    const isColour = colour === RGB || colour === RGBA;
    this.rgb[3 * at] = this.eightBits(first);
    this.rgb[3 * at + 1] = isColour ? this.eightBits(this.stored(data, line, x, 1)) : this.rgb[3 * at]!;
    this.rgb[3 * at + 2] = isColour ? this.eightBits(this.stored(data, line, x, 2)) : this.rgb[3 * at]!;
    if (this.alpha === null) return;
    if (colour === GREY_ALPHA || colour === RGBA) {
      const opacity = this.stored(data, line, x, channels - 1);
      this.alpha[at] = depth === 16 ? opacity >> 8 : opacity;
    } else if (this.isClear(data, line, x)) {
      this.alpha[at] = 0;
    }
  }

  /** A channel as it is stored. */
  private stored(data: Uint8Array, line: number, x: number, channel: number): number {
    const { channels, depth } = this.header;
    const number = x * channels + channel;
    if (depth === 8) return data[line + number]!;
    if (depth === 16) return (data[line + 2 * number]! << 8) | data[line + 2 * number + 1]!;
    const bit = number * depth;
    return (data[line + (bit >> 3)]! >> (8 - depth - (bit & 7))) & ((1 << depth) - 1);
  }

  private eightBits(value: number): number {
    const { depth, colour } = this.header;
    if (depth === 8) return value;
    if (depth < 8) return (value * 255) / ((1 << depth) - 1);
    return colour === GREY && this.alpha === null ? Math.floor(value / 257 + 0.5) : value >> 8;
  }

  private paintEntry(number: number, at: number): void {
    const entry = this.palette!.subarray(3 * number, 3 * number + 3);
    if (entry.length === 3) this.rgb.set(entry, 3 * at);
    if (this.clear && this.alpha && number < this.clear.length) this.alpha[at] = this.clear[number]!;
  }

  private isClear(data: Uint8Array, line: number, x: number): boolean {
    const { clear, header } = this;
    if (!clear || clear.length < 2 * header.channels) return false;
    for (let channel = 0; channel < header.channels; channel++) {
      const value = (clear[2 * channel]! << 8) | clear[2 * channel + 1]!;
      if (value !== this.stored(data, line, x, channel)) return false;
    }
    return true;
  }
}
