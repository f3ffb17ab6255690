import { floatsOf } from "./half.js";
import { BYTES, type Embedding } from "./manifest.js";

/** Rows of the embedding table, from the bytes of its file. */
export class Rows {
  private readonly numbers: Uint8Array;
  private readonly scales: Uint8Array | null = null;
  private readonly zeros: Uint8Array | null = null;
  private readonly blocks: number = 0;

  /** Copies the table out of its file, so that the rest of the file need not be kept. */
  constructor(
    private readonly table: Embedding,
    file: Uint8Array,
  ) {
    const { rounded, offset, rows, width, dtype } = table;
    const section = (start: number, row: number) => file.slice(start, start + rows * row);
    if (rounded === null) {
      this.numbers = section(offset, width * BYTES[dtype]);
      return;
    }
    const { bits, block, scales, zeroPoints } = rounded;
    this.blocks = Math.ceil(width / block);
    this.numbers = section(offset, (this.blocks * block * bits) / 8);
    this.scales = section(scales, this.blocks * BYTES[dtype]);
    if (zeroPoints !== null) this.zeros = section(zeroPoints, Math.ceil((this.blocks * bits) / 8));
  }

  /** Rows (ids * width) of token ids in float32. */
  read(ids: readonly number[]): Float32Array {
    const { width } = this.table;
    const found = new Float32Array(ids.length * width);
    for (const [place, id] of ids.entries()) this.readInto(found, place * width, id);
    return found;
  }

  private readInto(found: Float32Array, at: number, id: number): void {
    const { width, rounded } = this.table;
    if (rounded === null || this.scales === null) {
      found.set(this.floats(this.numbers, id, width), at);
      return;
    }
    const { bits, block, zeroOffset } = rounded;
    const integers = stored(this.numbers, id, (this.blocks * block * bits) / 8);
    const scales = this.floats(this.scales, id, this.blocks);
    const zeros = this.zeros && stored(this.zeros, id, Math.ceil((this.blocks * bits) / 8));
    for (let place = 0; place < width; place++) {
      const number = Math.floor(place / block);
      const zero = zeros === null ? zeroOffset : integer(zeros, number, bits);
      found[at + place] = (integer(integers, place, bits) - zero) * scales[number]!;
    }
  }

  private floats(from: Uint8Array, id: number, count: number): Float32Array {
    const { dtype } = this.table;
    const { buffer } = stored(from, id, count * BYTES[dtype]).slice(); // aligned
    return dtype === "float16" ? floatsOf(new Uint16Array(buffer)) : new Float32Array(buffer);
  }
}

function stored(from: Uint8Array, id: number, bytes: number): Uint8Array {
  return from.subarray(id * bytes, (id + 1) * bytes);
}

/** An unsigned integer; of two in a byte, the low half is the first. */
function integer(from: Uint8Array, place: number, bits: number): number {
  return bits === 8 ? from[place]! : (from[place >> 1]! >> (4 * (place & 1))) & 15;
}
