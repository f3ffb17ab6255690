import type * as Ort from "onnxruntime-web";
import type { Backend, CacheRows } from "./engine.js";
import { type Buffer, buffersOf, type Dtype, type Manifest } from "./manifest.js";

/** Settings of ONNX Runtime Web. */
export interface RuntimeOptions {
  readonly threads: number;
  readonly wasmPaths?: string | { readonly wasm: string; readonly mjs: string };
}

type Stored = Float32Array | Uint16Array | Int8Array;

/** Arrays by number format; those of float16 hold bits. */
const ARRAYS: Readonly<Partial<Record<Dtype, new (length: number) => Stored>>> = {
  float32: Float32Array,
  float16: Uint16Array,
  int8: Int8Array,
};
const FIRST_ROWS = 256;

/** WebAssembly on the CPU: small models, any browser. */
export async function wasmBackend(options: RuntimeOptions): Promise<Backend> {
  const ort = await import("onnxruntime-web/wasm");
  configure(ort, options);
  return { name: "wasm", ort, cache: async (manifest) => new HostCache(ort, manifest) };
}

export function configure(ort: typeof Ort, { threads, wasmPaths }: RuntimeOptions): void {
  ort.env.logLevel = "error";
  ort.env.wasm.numThreads = threads;
  if (wasmPaths !== undefined) ort.env.wasm.wasmPaths = wasmPaths;
}

/** The cache in arrays that grow, of which each run takes a copy into the memory of WebAssembly. */
class HostCache implements CacheRows {
  readonly given = 0;
  readonly options = {};
  private readonly buffers: readonly Buffer[];
  private rows: Stored[];
  private room: number;

  constructor(
    private readonly ort: typeof Ort,
    private readonly manifest: Manifest,
  ) {
    this.buffers = buffersOf(manifest.cache);
    this.room = Math.min(FIRST_ROWS, manifest.cache.maxContext);
    this.rows = this.made();
  }

  private made(): Stored[] {
    return this.buffers.map((one) => new ARRAYS[one.dtype]!(this.room * one.width));
  }

  async past(rows: number): Promise<Record<string, Ort.Tensor>> {
    const tensors = this.buffers.map(({ name, dtype, width }, place): [string, Ort.Tensor] => {
      const filled = this.rows[place]!.subarray(0, rows * width);
      return [`past_${name}`, new this.ort.Tensor(dtype as "float32", filled as Float32Array, [rows, width])];
    });
    return Object.fromEntries(tensors);
  }

  append(found: Ort.InferenceSession.OnnxValueMapType, start: number, count: number): void {
    this.grow(start + count);
    for (const [place, { name, width, dtype }] of this.buffers.entries()) {
      const data = found[`new_${name}`]!.data as Stored;
      const isBits = dtype === "float16"; // a Float16Array where the browser has it
      const numbers = isBits ? new Uint16Array(data.buffer, data.byteOffset, data.length) : data;
      this.rows[place]!.set(numbers, start * width);
    }
  }

  /** Makes room for so many rows: short conversations take little memory. */
  private grow(count: number): void {
    if (count <= this.room) return;
    this.room = Math.min(Math.max(2 * this.room, count), this.manifest.cache.maxContext);
    const old = this.rows;
    this.rows = this.made();
    for (const [place, one] of old.entries()) this.rows[place]!.set(one);
  }

  close(): void {
    this.rows = [];
  }
}
