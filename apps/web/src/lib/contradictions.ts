import type { Fields } from "./json.js";
import { type Buffer, BYTES, buffersOf, bytesPerToken, type Embedding, type Manifest, type Port } from "./manifest.js";

/** Refuses a manifest of which two places contradict each other. */
export function refuseContradictions(fields: Fields, manifest: Manifest): void {
  const { model, cache, prompt, generation, embedding, parts } = manifest;
  const suppressed = [...generation.suppressTokens, ...generation.beginSuppressTokens];
  const isId = (id: number) => id >= 0 && id < model.vocabulary;
  const hasFixedShapes = parts.has("prefill") || parts.has("head");
  const needed = ["vision", "decoder", ...(hasFixedShapes ? ["prefill", "head"] : [])];
  const ports = [...parts.values()].flatMap((part) => [...part.inputs, ...part.outputs]);
  fields.rules({
    parts: needed.every((name) => parts.has(name)) && (embedding !== null || parts.has("embedding")),
    prefill_chunk: manifest.prefillChunk >= 1 && manifest.prefillChunk <= cache.maxContext,
    embedding: embedding === null || isTableOf(embedding, manifest),
    cache: isCacheOf(manifest),
    prompt: [prompt.firstToken, prompt.imageToken, ...prompt.stopTokens, ...suppressed].every(isId),
    special_tokens: [...prompt.specialTokens.values()].every(isId),
  });
  const buffers = new Map(buffersOf(cache).map((one) => [one.name, one])); // a cache that fits has few
  const firstRow = cache.firstRow === null ? undefined : manifest.files.get(cache.firstRow);
  fields.rules({
    ports: hasFixedShapes || cache.isTogether || ports.every((port) => isPortOf(port, manifest, buffers)),
    first_row: firstRow === undefined || firstRow.bytes === bytesPerToken(cache),
  });
}

function isTableOf(table: Embedding, { model, files }: Manifest): boolean {
  const bytes = files.get(table.file)?.bytes;
  const isOfModel = table.rows === model.vocabulary && table.width === model.hidden;
  return isOfModel && (bytes === undefined || endOf(table) <= bytes);
}

function endOf({ rounded, offset, rows, width, dtype }: Embedding): number {
  if (rounded === null) return offset + rows * width * BYTES[dtype];
  const blocks = Math.ceil(width / rounded.block);
  return Math.max(
    offset + (rows * blocks * rounded.block * rounded.bits) / 8,
    rounded.scales + rows * blocks * BYTES[dtype],
    rounded.zeroPoints === null ? 0 : rounded.zeroPoints + rows * Math.ceil((blocks * rounded.bits) / 8),
  );
}

function isCacheOf({ model, cache, phantom }: Manifest): boolean {
  const isOfModel =
    cache.layers === model.layers && cache.kvHeads === model.kvHeads && cache.plainWidth === model.headDim;
  if (!isOfModel || phantom.length !== cache.layers) return false;
  return phantom.every((layer, number) => {
    const [key, value] = [model.headDim + layer.key, model.headDim + layer.value];
    const [keyWidth, valueWidth] = [cache.keyWidths[number], cache.valueWidths[number]];
    const widest = Math.max(key, value);
    return (keyWidth === key && valueWidth === value) || (keyWidth === widest && valueWidth === widest);
  });
}

/** True unless a port's width contradicts the rest of the manifest. */
function isPortOf(port: Port, manifest: Manifest, buffers: ReadonlyMap<string, Buffer>): boolean {
  const behind = port.shape.slice(1);
  const cached = /^(?:past|new)_(.*)$/s.exec(port.name);
  if (cached) {
    const buffer = buffers.get(cached[1]!);
    return buffer !== undefined && behind.length === 1 && behind[0] === buffer.width && port.dtype === buffer.dtype;
  }
  const side = manifest.pictures.tileSize;
  const widths: Record<string, number[]> = {
    pixel_values: [3, side, side],
    pixels: [3, side, side],
    image_tokens: [manifest.model.hidden],
    inputs_embeds: [manifest.model.hidden],
    logits: [manifest.model.vocabulary],
  };
  const width = Object.hasOwn(widths, port.name) ? widths[port.name]!.join() : null;
  if (width === null) return true;
  const isWide = behind.join() === width || (port.shape[0] === 1 && port.shape.slice(2).join() === width);
  return isWide && port.dtype === (port.name === "pixels" ? "uint8" : manifest.cache.dtype);
}
