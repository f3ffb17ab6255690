import type * as Ort from "onnxruntime-web";
import { damaged, EXPORT_AGAIN, PhantomError, reasonOf } from "./errors.js";
import { floatsOf, halvesOf } from "./half.js";
import type { Dtype, EngineName, Form, Manifest, Part, Port } from "./manifest.js";
import { Rows } from "./rows.js";
import { normalized } from "./tiling.js";

/** One loaded bundle with one cache. Numbers are float32 whatever the graphs compute in. */
export interface Engine {
  /** Rows of the cache that are there before any was fed: 1 where the first token's were read from a file. */
  readonly given: number;

  /** Image tokens (tokens_per_tile * hidden) of a tile: R, G, B of each pixel, row by row. */
  encode(tile: Uint8Array): Promise<Float32Array>;

  /** Rows (ids * hidden) of token ids. */
  embed(ids: readonly number[]): Float32Array;

  /**
   * Feeds rows (count * hidden) at positions `start` on; later entries of the cache are overwritten.
   *
   * Gives logits behind the last row, null where they are not wanted.
   */
  forward(rows: Float32Array, start: number, wantsLogits: boolean): Promise<Float32Array | null>;

  close(): Promise<void>;
}

/** The bytes of a bundle's files, as its manifest lists them. */
export type ReadFile = (name: string) => Promise<Uint8Array>;

/** The rows of the cache in one kind of memory. */
export interface CacheRows {
  readonly given: number;
  /** Settings of the decoder's session that say where new rows are wanted. */
  readonly options: Ort.InferenceSession.SessionOptions;
  /** The first rows of every buffer, as inputs. */
  past(rows: number): Promise<Record<string, Ort.Tensor>>;
  /** Takes the new rows of a run behind the first `start`. */
  append(found: Ort.InferenceSession.OnnxValueMapType, start: number, count: number): void;
  close(): void;
}

/** ONNX Runtime Web with one of its execution providers. */
export interface Backend {
  readonly name: EngineName;
  readonly ort: typeof Ort;
  cache(manifest: Manifest, form: Form, read: ReadFile): Promise<CacheRows>;
}

const FED = ["inputs_embeds", "position_ids", "logits_to_keep"];

/** Numbers as a tensor of a number format. */
export function tensorOf(ort: typeof Ort, dtype: Dtype, numbers: Float32Array, dims: readonly number[]): Ort.Tensor {
  return dtype === "float16"
    ? new ort.Tensor("float16", halvesOf(numbers), dims)
    : new ort.Tensor("float32", numbers, dims);
}

/** The numbers of a tensor. */
export function numbersOf({ type, data }: Ort.Tensor): Float32Array {
  if (type !== "float16") return data as Float32Array;
  const halves = data as Uint16Array; // or a Float16Array, where the browser has it
  return floatsOf(new Uint16Array(halves.buffer, halves.byteOffset, halves.length));
}

/** Runs the graphs of a form. */
export class OrtEngine implements Engine {
  readonly given: number;

  private constructor(
    private readonly manifest: Manifest,
    private readonly form: Form,
    private readonly ort: typeof Ort,
    private readonly rows: Rows,
    private readonly cache: CacheRows,
    private readonly vision: Ort.InferenceSession,
    private readonly decoder: Ort.InferenceSession,
  ) {
    this.given = cache.given;
  }

  static async load(backend: Backend, manifest: Manifest, form: Form, read: ReadFile): Promise<OrtEngine> {
    const { vision, decoder, embedding } = form;
    if (vision.file === decoder.file) throw otherPorts(decoder); // one graph has one list of inputs
    const rows = new Rows(embedding, await read(embedding.file));
    const cache = await backend.cache(manifest, form, read);
    const pasts = decoder.inputs.map((one) => one.name).filter((name) => name.startsWith("past_"));
    const opened: Ort.InferenceSession[] = [];
    try {
      opened.push(await sessionOf(backend, vision, ["pixel_values"], {}, read));
      opened.push(await sessionOf(backend, decoder, [...FED, ...pasts], cache.options, read));
    } catch (error) {
      for (const one of opened) await one.release();
      cache.close();
      throw error;
    }
    return new OrtEngine(manifest, form, backend.ort, rows, cache, opened[0]!, opened[1]!);
  }

  async encode(tile: Uint8Array): Promise<Float32Array> {
    const { pictures } = this.manifest;
    const [port] = this.form.vision.inputs;
    const dims = [1, 3, pictures.tileSize, pictures.tileSize];
    const pixels = tensorOf(this.ort, port!.dtype, normalized(tile, pictures), dims);
    const found = await running("vision part", () => this.vision.run({ pixel_values: pixels }));
    const tokens = found.image_tokens;
    if (!tokens) throw damaged("the vision part gives no image tokens");
    return numbersOf(tokens);
  }

  embed(ids: readonly number[]): Float32Array {
    return this.rows.read(ids);
  }

  async forward(rows: Float32Array, start: number, wantsLogits: boolean): Promise<Float32Array | null> {
    const { hidden } = this.manifest.model;
    const { ort, cache } = this;
    const count = rows.length / hidden;
    const dtype = this.form.decoder.inputs.find((one) => one.name === "inputs_embeds")!.dtype;
    const positions = BigInt64Array.from({ length: count }, (_, place) => BigInt(start + place));
    const kept = wantsLogits ? BigInt64Array.of(BigInt(count - 1)) : new BigInt64Array();
    const past = await cache.past(start);
    const found = await running("decoder", () =>
      this.decoder.run({
        inputs_embeds: tensorOf(ort, dtype, rows, [count, hidden]),
        position_ids: new ort.Tensor("int64", positions, [1, count]),
        logits_to_keep: new ort.Tensor("int64", kept, [kept.length]),
        ...past,
      }),
    );
    cache.append(found, start, count);
    return wantsLogits ? numbersOf(found.logits!) : null;
  }

  async close(): Promise<void> {
    await this.vision.release();
    await this.decoder.release();
    this.cache.close();
  }
}

async function running<T>(part: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    const problem = `the ${part} of this bundle does not run: ${reasonOf(error)}`;
    throw new PhantomError("failed", problem, EXPORT_AGAIN, { cause: error });
  }
}

async function sessionOf(
  { ort, name }: Backend,
  part: Part,
  fed: readonly string[],
  options: Ort.InferenceSession.SessionOptions,
  read: ReadFile,
): Promise<Ort.InferenceSession> {
  const externalData: { path: string; data: Uint8Array }[] = [];
  for (const path of part.weights) externalData.push({ path, data: await read(path) });
  const graph = await read(part.file);
  let session: Ort.InferenceSession;
  try {
    session = await ort.InferenceSession.create(graph, {
      executionProviders: [name],
      logSeverityLevel: 3,
      externalData,
      ...options,
    });
  } catch (error) {
    const problem = `ONNX Runtime does not load ${part.file} (${reasonOf(error)})`;
    throw new PhantomError("failed", problem, `${EXPORT_AGAIN}, or see wasmPaths in the README`, { cause: error });
  }
  const isListed =
    isAlike(session.inputMetadata, part.inputs) &&
    isAlike(session.outputMetadata, part.outputs) &&
    [...session.inputNames].sort().join() === [...fed].sort().join();
  if (isListed) return session;
  await session.release();
  throw otherPorts(part);
}

function otherPorts({ file }: Part): PhantomError {
  return damaged(`${file} has other inputs or outputs than its manifest lists`);
}

function isAlike(found: readonly Ort.InferenceSession.ValueMetadata[], listed: readonly Port[]): boolean {
  const shown = (name: string, dtype: string, shape: readonly unknown[]) =>
    `${name} ${dtype} ${shape.map((one) => (typeof one === "number" ? one : "?"))}`;
  const graph = found.map((one) => (one.isTensor ? shown(one.name, one.type, one.shape) : one.name));
  return graph.join("\n") === listed.map((one) => shown(one.name, one.dtype, one.shape)).join("\n");
}
