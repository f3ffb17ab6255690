import type * as Ort from "onnxruntime-web";
import type { Backend, CacheRows, ReadFile } from "./engine.js";
import { configure, type RuntimeOptions } from "./engine-wasm.js";
import { damaged, PhantomError } from "./errors.js";
import { type Buffer, BYTES, buffersOf, type Form, type Manifest } from "./manifest.js";

const BYTE_PRODUCTS = ["MatMulIntegerToFloat", "MatMulInteger", "DynamicQuantizeMatMul"];
/** Uses of a buffer: bits of the WebGPU standard, which are no constants outside of browsers. */
const [COPY_SRC, COPY_DST, STORAGE] = [0x04, 0x08, 0x80];

/** Why WebGPU does not run a form here, null where it does. */
export async function whyNoWebGpu(manifest: Manifest, form: Form | undefined): Promise<string | null> {
  if (!form) return "the bundle has no graphs for WebGPU";
  const { cache } = manifest;
  if (cache.firstRow === null) return "the bundle has no rows of the first token, and WebGPU takes no empty cache";
  if (cache.isRounded) return "the cache is int8, which WebGPU has no buffers for";
  const ports = [...form.decoder.inputs, ...form.vision.inputs];
  const product = BYTE_PRODUCTS.find((one) => form.decoder.operators.has(one) || form.vision.operators.has(one));
  if (product) return `its products of bytes (${product}) would run on the CPU`;
  if (buffersOf(cache).some((one) => (one.width * BYTES[one.dtype]) % 4 !== 0)) {
    return "rows of its cache are no whole words of 4 bytes";
  }
  const gpu = globalThis.navigator?.gpu;
  if (!gpu) return "the browser has no WebGPU";
  const adapter = await gpu.requestAdapter();
  if (!adapter) return "the browser finds no GPU for WebGPU";
  if (ports.some((one) => one.dtype === "float16") && !adapter.features.has("shader-f16")) {
    return "the GPU has no float16 (shader-f16)";
  }
  return null;
}

/** WebGPU: larger models, in browsers and on devices that have it. */
export async function webGpuBackend(options: RuntimeOptions): Promise<Backend> {
  const ort = await import("onnxruntime-web/webgpu");
  configure(ort, options);
  return { name: "webgpu", ort, cache: (manifest, _, read) => GpuCache.create(ort, manifest, read) };
}

/**
 * The cache in the GPU's memory: one buffer of the whole context for each of the decoder's.
 *
 * An empty array fails in WebGPU's MatMul, so row 0, which is that of the first token in every prompt, is read from the
 * bundle.
 */
class GpuCache implements CacheRows {
  readonly given = 1;
  readonly options: Ort.InferenceSession.SessionOptions;
  private device: GPUDevice | null = null;
  private held: GPUBuffer[] = [];

  private constructor(
    private readonly ort: typeof Ort,
    private readonly manifest: Manifest,
    private readonly buffers: readonly Buffer[],
    private readonly firstRow: Uint8Array,
  ) {
    const locations = buffers.map((one): [string, "gpu-buffer"] => [`new_${one.name}`, "gpu-buffer"]);
    this.options = { preferredOutputLocation: { ...Object.fromEntries(locations), logits: "cpu" } };
  }

  static async create(ort: typeof Ort, manifest: Manifest, read: ReadFile): Promise<GpuCache> {
    const { firstRow } = manifest.cache;
    if (firstRow === null) throw damaged("the bundle has no rows of the first token");
    return new GpuCache(ort, manifest, buffersOf(manifest.cache), await read(firstRow));
  }

  /** Makes the buffers at the first run: before a session is loaded, ONNX Runtime has no device. */
  private async prepare(): Promise<void> {
    const device = (await this.ort.env.webgpu.device) as GPUDevice;
    let offset = 0;
    for (const { width, dtype } of this.buffers) {
      const bytes = width * BYTES[dtype];
      const buffer = device.createBuffer({
        size: this.manifest.cache.maxContext * bytes,
        usage: STORAGE | COPY_SRC | COPY_DST,
      });
      device.queue.writeBuffer(buffer, 0, this.firstRow.slice(offset, offset + bytes));
      this.held.push(buffer);
      offset += bytes;
    }
    this.device = device;
  }

  async past(rows: number): Promise<Record<string, Ort.Tensor>> {
    if (this.device === null) await this.prepare();
    const tensors = this.buffers.map(({ name, dtype, width }, place): [string, Ort.Tensor] => {
      const options = { dataType: dtype as "float32" | "float16", dims: [rows, width] };
      return [`past_${name}`, this.ort.Tensor.fromGpuBuffer(this.held[place]! as never, options)];
    });
    return Object.fromEntries(tensors);
  }

  append(found: Ort.InferenceSession.OnnxValueMapType, start: number, count: number): void {
    if (this.device === null) throw new PhantomError("failed", "the GPU was not ready", "open the bundle again");
    const encoder = this.device.createCommandEncoder();
    for (const [place, { name, width, dtype }] of this.buffers.entries()) {
      const bytes = width * BYTES[dtype];
      const rows = found[`new_${name}`]!.gpuBuffer as unknown as GPUBuffer;
      encoder.copyBufferToBuffer(rows, 0, this.held[place]!, start * bytes, count * bytes);
    }
    this.device.queue.submit([encoder.finish()]);
    for (const { name } of this.buffers) found[`new_${name}`]!.dispose();
  }

  close(): void {
    for (const one of this.held) one.destroy();
    this.held = [];
  }
}
