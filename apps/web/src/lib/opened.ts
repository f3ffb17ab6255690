import { OrtEngine } from "./engine.js";
import { type RuntimeOptions, wasmBackend } from "./engine-wasm.js";
import { webGpuBackend, whyNoWebGpu } from "./engine-webgpu.js";
import { EXPORT_AGAIN, PhantomError } from "./errors.js";
import { type EngineName, type Form, leastMemory, type Manifest } from "./manifest.js";
import { Session } from "./session.js";
import { MemoryShelf, OriginShelf, type Shelf } from "./shelf.js";
import { readPublicKey } from "./signature.js";
import { Store } from "./store.js";
import { readTokenizer } from "./words.js";

/** Settings of an open bundle that reach the worker. */
export interface OpenOptions {
  /** Engine: the best one unless given. */
  readonly engine?: EngineName | "best";
  /** Threads of WebAssembly; more than one need a page that is cross-origin isolated. Up to 4 unless given. */
  readonly threads?: number;
  /** Place of ONNX Runtime's files, where the page's bundler does not bring them. */
  readonly wasmPaths?: string | { readonly wasm: string; readonly mjs: string };
  /** Place of the bundle's files: the origin's storage unless given, which lasts; or memory. */
  readonly storage?: "origin" | "memory";
  /** Public key of minisign, the text of `KEY.pub`: a bundle that is not signed with it is refused. */
  readonly key?: string;
  /** Most bytes that the bundle may need while it runs; no limit beside the device's unless given. */
  readonly memoryLimit?: number;
}

/** Progress of opening: bytes of the download, then the graphs. */
export interface Progress {
  readonly stage: "download" | "load";
  readonly done: number;
  readonly all: number;
}

/** Facts about an open bundle. */
export interface About {
  readonly model: string;
  /** Mark that stands in a message where a picture goes. */
  readonly imageMark: string;
  /** Tokens that prompt and answer may have together. */
  readonly maxContext: number;
  /** Bytes that the bundle needs at least while it runs. */
  readonly leastMemory: number;
  readonly engine: EngineName;
  readonly threads: number;
  /** Why WebGPU is not used, null where it is or was not wanted. */
  readonly whyNoWebGpu: string | null;
}

/** A bundle that can be asked. */
export interface Opened {
  readonly about: About;
  readonly session: Session;
  readonly store: Store;
  readonly form: Form;
}

const GIGA = 2 ** 30;
const WASM_BYTES = 4 * GIGA;
const FILE_BYTES = 2 * GIGA;
const MOST_THREADS = 4;
const MEGA = 1e6;

/** Opens a bundle: brings its files, checks each, and loads it. Raises PhantomError. */
export async function openBundle(
  address: string,
  options: OpenOptions,
  signal: AbortSignal,
  progress: (progress: Progress) => void,
): Promise<Opened> {
  const key = options.key === undefined ? undefined : readPublicKey(options.key);
  const shelf: Shelf = options.storage === "memory" ? new MemoryShelf() : await OriginShelf.open();
  const store = new Store(address, shelf, signal);
  const manifest = await store.manifest(key);
  checkLayout(manifest, address);
  const [engine, why] = await chosenEngine(manifest, address, options.engine ?? "best");
  const form = manifest.forms.get(engine)!;
  checkMemory(manifest, form, engine, address, options);
  const { tokenizer, chatTemplate } = manifest.prompt;
  const names = [...new Set([...form.files, tokenizer, chatTemplate])];
  await store.bring(manifest, names, (done, all) => progress({ stage: "download", done, all }));
  await store.keep(manifest);
  progress({ stage: "load", done: 0, all: 1 });
  const threads = checkedThreads(options.threads);
  const runtime: RuntimeOptions = { threads, ...(options.wasmPaths && { wasmPaths: options.wasmPaths }) };
  const backend = await (engine === "webgpu" ? webGpuBackend(runtime) : wasmBackend(runtime));
  const read = (name: string) => store.read(manifest, name);
  const words = readTokenizer(textOf(await read(tokenizer)), tokenizer);
  const template = textOf(await read(chatTemplate));
  signal.throwIfAborted();
  const session = new Session(manifest, await OrtEngine.load(backend, manifest, form, read), words, template);
  progress({ stage: "load", done: 1, all: 1 });
  const about: About = {
    model: manifest.model.name,
    imageMark: manifest.prompt.images.mark,
    maxContext: manifest.cache.maxContext,
    leastMemory: leastMemory(manifest, form),
    engine,
    threads,
    whyNoWebGpu: why,
  };
  return { about, session, store, form };
}

function textOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

function unsupported(problem: string, remedy: string): PhantomError {
  return new PhantomError("unsupported", problem, remedy);
}

function checkLayout(manifest: Manifest, address: string): void {
  const { target, cache, forms } = manifest;
  if (target !== "onnx" && target !== "web") {
    throw unsupported(
      `${address} was made for target ${target}, not for web or onnx`,
      "export it again: phantom-edge export --target web",
    );
  }
  if (cache.layout !== "growing arrays" || cache.positions !== "position_ids") {
    throw unsupported(`a cache of ${cache.layout} with ${cache.positions} is not run here`, EXPORT_AGAIN);
  }
  if (forms.size === 0) throw unsupported(`${address} has no table of embeddings`, EXPORT_AGAIN);
}

/** The engine, and why it is not WebGPU. */
async function chosenEngine(
  manifest: Manifest,
  address: string,
  wanted: EngineName | "best",
): Promise<[EngineName, string | null]> {
  const other = "give another engine, or export again with both: phantom-edge export --target web";
  if (wanted !== "wasm") {
    const why = await whyNoWebGpu(manifest, manifest.forms.get("webgpu"));
    if (why === null) return ["webgpu", null];
    if (wanted === "webgpu") throw unsupported(`WebGPU does not run ${address}: ${why}`, other);
    if (manifest.forms.has("wasm")) return ["wasm", why];
    throw unsupported(`${address} is for WebGPU alone, and ${why}`, other);
  }
  if (!manifest.forms.has("wasm")) throw unsupported(`${address} has no graphs for WebAssembly`, other);
  return ["wasm", null];
}

function checkMemory(
  manifest: Manifest,
  form: Form,
  engine: EngineName,
  address: string,
  { memoryLimit }: OpenOptions,
): void {
  const needed = leastMemory(manifest, form);
  const smaller = "close other tabs, or export it smaller: fewer bits (--weights int4) or a smaller --max-context";
  // The device's gigabytes, rounded, of which browsers name 8 at most.
  const { deviceMemory } = (globalThis.navigator ?? {}) as { deviceMemory?: number };
  const limits: [number, string][] = [
    ...(memoryLimit === undefined ? [] : [[memoryLimit, "memoryLimit allows"] as [number, string]]),
    ...(engine === "wasm" ? [[WASM_BYTES, "WebAssembly has"] as [number, string]] : []),
    ...(deviceMemory && deviceMemory < 8 ? [[deviceMemory * GIGA, "this device has"] as [number, string]] : []),
  ];
  const found = limits.find(([bytes]) => needed > bytes);
  if (found) {
    const [bytes, says] = found;
    const problem = `${address} needs ${Math.ceil(needed / MEGA)} MB at least, ${says} ${Math.floor(bytes / MEGA)} MB`;
    throw new PhantomError("too large", problem, smaller);
  }
  const large = form.files.find((name) => (manifest.files.get(name)?.bytes ?? 0) >= FILE_BYTES);
  if (large) throw new PhantomError("too large", `${large} has 2 GB or more, which no browser takes`, smaller);
}

function checkedThreads(wanted: number | undefined): number {
  const most = globalThis.crossOriginIsolated ? Math.min(MOST_THREADS, navigator.hardwareConcurrency) : 1;
  if (wanted === undefined) return most;
  if (!Number.isInteger(wanted) || wanted < 1) {
    throw new PhantomError("bad question", `threads is ${wanted}`, "give 1 or more");
  }
  if (wanted > 1 && !globalThis.crossOriginIsolated) {
    throw unsupported(
      `${wanted} threads need a page that is cross-origin isolated`,
      "serve it with COOP same-origin and COEP require-corp, or leave threads out",
    );
  }
  return wanted;
}
