/** A number format of the manifest. */
export type Dtype = "float32" | "float16" | "int16" | "int64" | "int32" | "int8" | "uint8";

/** Bytes of a number. */
export const BYTES: Readonly<Record<Dtype, number>> = {
  float32: 4,
  float16: 2,
  int16: 2,
  int64: 8,
  int32: 4,
  int8: 1,
  uint8: 1,
};

export interface Model {
  readonly name: string;
  readonly fingerprint: string;
  readonly hidden: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly vocabulary: number;
  readonly card: string | null;
}

/** An input or output of a graph; a dimension that differs from run to run is null. */
export interface Port {
  readonly name: string;
  readonly shape: readonly (number | null)[];
  readonly dtype: Dtype;
}

export interface Part {
  readonly file: string;
  readonly weights: readonly string[];
  readonly operators: ReadonlyMap<string, number>;
  readonly weightBytes: ReadonlyMap<string, number>;
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
}

/** Rows of integers: a number is (integer - zero point) * scale. */
export interface Rounded {
  readonly bits: number;
  readonly block: number;
  readonly scales: number;
  readonly zeroPoints: number | null;
  readonly zeroOffset: number;
}

export interface Embedding {
  readonly file: string;
  readonly offset: number;
  readonly rows: number;
  readonly width: number;
  readonly dtype: "float32" | "float16";
  readonly rounded: Rounded | null;
}

/** Engines of ONNX Runtime Web, by the names of its execution providers. */
export const ENGINES = ["wasm", "webgpu"] as const;

export type EngineName = (typeof ENGINES)[number];

/** The graphs of one engine, its table of embeddings, and the files of them. */
export interface Form {
  readonly vision: Part;
  readonly decoder: Part;
  readonly embedding: Embedding;
  readonly files: readonly string[];
}

/** A buffer of the cache: the graphs read `past_NAME` and write `new_NAME`. */
export interface Buffer {
  readonly name: string;
  readonly width: number;
  readonly dtype: Dtype;
}

export interface Cache {
  readonly layers: number;
  readonly kvHeads: number;
  readonly plainWidth: number;
  readonly keyWidths: readonly number[];
  readonly valueWidths: readonly number[];
  readonly dtype: Dtype;
  readonly maxContext: number;
  readonly layout: string;
  readonly positions: string;
  readonly isRounded: boolean;
  readonly isTogether: boolean;
  readonly firstRow: string | null;
}

/** The buffers of a cache in the order of the decoder's inputs. */
export function buffersOf(cache: Cache): Buffer[] {
  const dtype: Dtype = cache.isRounded ? "int8" : cache.dtype;
  return cache.keyWidths.flatMap((keyWidth, layer) => {
    const rows = Array.from({ length: cache.kvHeads }, (_, head) => [
      { name: `key.${layer}.${head}`, width: keyWidth, dtype },
      { name: `value.${layer}.${head}`, width: cache.valueWidths[layer]!, dtype },
    ]).flat();
    return cache.isRounded ? [...rows, { name: `scale.${layer}`, width: 2 * cache.kvHeads, dtype: cache.dtype }] : rows;
  });
}

/** Bytes of a token in the cache. */
export function bytesPerToken(cache: Cache): number {
  return buffersOf(cache).reduce((sum, one) => sum + one.width * BYTES[one.dtype], 0);
}

/** Columns and rows of tiles. */
export type Grid = readonly [number, number];

export interface Pictures {
  readonly tileSize: number;
  readonly minTiles: number;
  readonly maxTiles: number;
  readonly hasThumbnail: boolean;
  readonly mean: readonly number[];
  readonly std: readonly number[];
  readonly tokensPerTile: number;
  readonly grids: readonly Grid[];
  readonly tieArea: number;
  readonly background: readonly number[];
}

export interface Turn {
  readonly before: string;
  readonly after: string;
}

export interface Prompt {
  readonly tokenizer: string;
  readonly chatTemplate: string;
  readonly firstToken: number;
  readonly imageToken: number;
  readonly stopTokens: readonly number[];
  readonly images: { readonly mark: string; readonly start: string; readonly context: string; readonly end: string };
  readonly reserved: readonly string[];
  readonly specialTokens: ReadonlyMap<string, number>;
  readonly variables: ReadonlyMap<string, string>;
  readonly turns: { readonly roles: ReadonlyMap<string, Turn>; readonly generation: string } | null;
}

export interface Generation {
  readonly repetitionPenalty: number;
  readonly noRepeatNgram: number;
  readonly minLength: number;
  readonly minNewTokens: number;
  readonly suppressTokens: readonly number[];
  readonly beginSuppressTokens: readonly number[];
}

export interface ListedFile {
  readonly bytes: number;
  readonly sha256: string;
}

/** Numbers of the phantom part that a layer keeps. */
export interface Ranks {
  readonly key: number;
  readonly value: number;
}

/** `phantom.json`: everything that a program needs to run a bundle. */
export interface Manifest {
  readonly target: string;
  readonly model: Model;
  readonly parts: ReadonlyMap<string, Part>;
  readonly embedding: Embedding | null;
  readonly cache: Cache;
  readonly pictures: Pictures;
  readonly prompt: Prompt;
  readonly generation: Generation;
  readonly phantom: readonly Ranks[];
  readonly prefillChunk: number;
  readonly files: ReadonlyMap<string, ListedFile>;
  readonly seal: string;
  readonly golden: string | null;
  /** Name of the recipe of its integers; null where no weight is quantized. */
  readonly recipe: string | null;
  /** Forms by engine; a bundle of another target has none. */
  readonly forms: ReadonlyMap<EngineName, Form>;
}

const RUNTIME_BYTES = 50_000_000;

/** Bytes that a form needs at least while it runs: its weights, its table, a full cache, and the runtime. */
export function leastMemory({ cache, files }: Manifest, form: Form): number {
  const weights = form.files.reduce((sum, name) => sum + (files.get(name)?.bytes ?? 0), 0);
  return weights + bytesPerToken(cache) * cache.maxContext + RUNTIME_BYTES;
}
