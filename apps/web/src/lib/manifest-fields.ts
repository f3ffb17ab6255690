import { type Fields, WrongJson } from "./json.js";
import type { Cache, Dtype, Embedding, Generation, Model, Part, Pictures, Port, Prompt } from "./manifest.js";

const DTYPES: readonly Dtype[] = ["float32", "float16", "int16", "int64", "int32", "int8", "uint8"];
const LAYOUTS = ["growing arrays", "one growing array", "fixed arrays", "graph state", "arrays in place"] as const;
const POSITIONS = ["position_ids", "start_pos", "start and rotary rows", "rotary rows", "input_pos"] as const;
const MOST = 1 << 20;

export function model(fields: Fields): Model {
  fields.get("family").string();
  fields.get("eta").number();
  for (const name of ["license", "uses", "out_of_scope"]) fields.get(name).orNull((one) => one.string());
  return {
    name: fields.get("name").string(),
    fingerprint: fields.get("fingerprint").string(),
    hidden: fields.get("hidden_size").int(),
    layers: fields.get("layers").int(),
    heads: fields.get("heads").int(),
    kvHeads: fields.get("kv_heads").int(),
    headDim: fields.get("head_dim").int(),
    vocabulary: fields.get("vocab_size").int(),
    card: fields.get("card").orNull((one) => one.string()),
  };
}

export function part(fields: Fields): Part {
  fields.get("precision").oneOf("fp32", "fp16", "int16");
  for (const name of ["function", "source"]) fields.find(name)?.string();
  fields
    .find("states")
    ?.list()
    .forEach((one) => void one.fields(port));
  fields.find("delegation"); // of targets that this library does not run
  return {
    file: fields.get("file").string(),
    weights: fields.get("weights").strings(),
    operators: fields.get("operators").each((one) => one.int()),
    weightBytes: fields.get("weight_bytes").each((one) => one.int()),
    inputs: fields
      .get("inputs")
      .list()
      .map((one) => one.fields(port)),
    outputs: fields
      .get("outputs")
      .list()
      .map((one) => one.fields(port)),
  };
}

function port(fields: Fields): Port {
  return {
    name: fields.get("name").string(),
    shape: fields
      .get("shape")
      .list()
      .map((one) => (typeof one.value === "string" ? null : one.int())),
    dtype: fields.get("dtype").oneOf(...DTYPES),
  };
}

export function embedding(fields: Fields): Embedding {
  const dtype = fields.get("dtype").oneOf("float32", "float16");
  const found: Embedding = {
    file: fields.get("file").string(),
    offset: fields.get("offset").int(),
    rows: fields.get("rows").int(),
    width: fields.get("width").int(),
    dtype,
    rounded: fields.find("rounded")?.orNull((one) => one.fields((inner) => rounded(inner, dtype))) ?? null,
  };
  const aligned = found.rounded?.scales ?? found.offset;
  fields.rules({
    offset: found.offset >= 0 && aligned % (dtype === "float32" ? 4 : 2) === 0,
    rows: found.rows > 0,
    width: found.width > 0,
  });
  return found;
}

function rounded(fields: Fields, dtype: Dtype) {
  fields.find("first_nibble")?.oneOf("low");
  const scaleDtype = fields.get("scale_dtype").oneOf("float32", "float16");
  const found = {
    bits: fields.get("bits").int(),
    block: fields.get("block").int(),
    scales: fields.get("scales").int(),
    zeroPoints: fields.get("zero_points").orNull((one) => one.int()),
    zeroOffset: fields.get("zero_offset").int(),
  };
  const { bits, block } = found;
  fields.rules({
    bits: bits === 4 || bits === 8,
    block: block >= 16 && block <= 1 << 16 && block % 2 === 0,
    scales: found.scales >= 0,
    zero_points: (found.zeroPoints ?? 0) >= 0,
    zero_offset: found.zeroOffset === 1 << (bits - 1),
    scale_dtype: scaleDtype === dtype,
  });
  return found;
}

export function cache(fields: Fields): Cache {
  const found: Cache = {
    layers: fields.get("layers").int(),
    kvHeads: fields.get("kv_heads").int(),
    plainWidth: fields.get("plain_width").int(),
    keyWidths: fields.get("key_widths").ints(),
    valueWidths: fields.get("value_widths").ints(),
    dtype: fields.get("dtype").oneOf("float32", "float16", "int16"),
    maxContext: fields.get("max_context").int(),
    layout: fields.get("layout").oneOf(...LAYOUTS),
    positions: fields.get("positions").oneOf(...POSITIONS),
    isRounded: fields.find("rounded")?.boolean() ?? false,
    isTogether: fields.find("together")?.boolean() ?? false,
    firstRow: fields.find("first_row")?.orNull((one) => one.fields((inner) => inner.get("file").string())) ?? null,
  };
  const widths = [...found.keyWidths, ...found.valueWidths];
  fields.rules({
    together: !(found.isTogether && found.isRounded) && found.isTogether === (found.layout === "one growing array"),
    first_row: found.firstRow === null || found.layout === "growing arrays",
    max_context: found.maxContext >= 1 && found.maxContext <= MOST,
    kv_heads: found.kvHeads >= 1 && found.kvHeads <= 1024,
    layers: found.layers >= 1 && found.layers <= 1024,
    widths: widths.every((one) => one >= 1 && one <= 1 << 16),
  });
  if (found.keyWidths.length !== found.layers || found.valueWidths.length !== found.layers) {
    throw new WrongJson("cache.key_widths or value_widths has not one width for each layer");
  }
  fields.rules({ plain_width: found.plainWidth >= 1 && widths.every((one) => found.plainWidth <= one) });
  return found;
}

export function pictures(fields: Fields): Pictures {
  fields.find("grid_rule")?.oneOf("nearest ratio, ties by area");
  fields.find("order")?.oneOf("rows, thumbnail last");
  fields.find("resizing")?.fields(resizing);
  const found: Pictures = {
    tileSize: fields.get("tile_size").int(),
    minTiles: fields.get("min_tiles").int(),
    maxTiles: fields.get("max_tiles").int(),
    hasThumbnail: fields.get("thumbnail").boolean(),
    mean: fields.get("mean").numbers().map(Math.fround),
    std: fields.get("std").numbers().map(Math.fround),
    tokensPerTile: fields.get("tokens_per_tile").int(),
    grids: fields
      .get("grids")
      .list()
      .map((one) => one.ints() as unknown as [number, number]),
    tieArea: fields.find("tie_area")?.number() ?? 0.5,
    background: fields.find("decoding")?.fields(decoding) ?? [255, 255, 255],
  };
  const { minTiles, maxTiles, tokensPerTile } = found;
  fields.rules({
    tile_size: found.tileSize >= 1 && found.tileSize <= 1 << 14,
    tiles: minTiles >= 1 && minTiles <= maxTiles && maxTiles <= 1024,
    tokens_per_tile: tokensPerTile > 0 && tokensPerTile <= MOST / Math.max(maxTiles, 1),
    mean: found.mean.length === 3,
    std: found.std.length === 3 && found.std.every((one) => one > 0),
    tie_area: found.tieArea === 0.5,
  });
  fields.rules({ grids: isEveryGrid(found) });
  return found;
}

/** True where the grids are all of so many tiles: fewest tiles first, of equally many the narrower first. */
function isEveryGrid({ minTiles, maxTiles, grids }: Pictures): boolean {
  const all: string[] = [];
  for (let count = minTiles; count <= maxTiles; count++) {
    for (let wide = 1; wide <= count; wide++) if (count % wide === 0) all.push(`${wide},${count / wide}`);
  }
  return all.join(" ") === grids.map((one) => one.join(",")).join(" ");
}

function decoding(fields: Fields): number[] {
  fields.find("orientation")?.oneOf("exif");
  fields.find("channels")?.oneOf("RGB");
  fields.find("sixteen_bits")?.oneOf("floor(value / 257 + 0.5)");
  const background = fields.find("background")?.ints() ?? [255, 255, 255];
  fields.rules({ background: background.length === 3 && background.every((one) => one >= 0 && one <= 255) });
  return background;
}

function resizing(fields: Fields): void {
  fields.find("filter")?.oneOf("bicubic");
  fields.rules({
    cubic_a: (fields.find("cubic_a")?.number() ?? -0.5) === -0.5,
    fractional_bits: (fields.find("fractional_bits")?.int() ?? 22) === 22,
    passes: (fields.find("passes")?.strings() ?? ["horizontal", "vertical"]).join() === "horizontal,vertical",
  });
}

export function prompt(fields: Fields): Prompt {
  const found: Prompt = {
    tokenizer: fields.get("tokenizer").string(),
    chatTemplate: fields.get("chat_template").string(),
    firstToken: fields.get("first_token").int(),
    imageToken: fields.get("image_token").int(),
    stopTokens: fields.get("stop_tokens").ints(),
    images: fields.get("images").fields((marks) => ({
      mark: marks.get("mark").string(),
      start: marks.get("start").string(),
      context: marks.get("context").string(),
      end: marks.get("end").string(),
    })),
    reserved: fields.get("reserved").strings(),
    specialTokens: fields.get("special_tokens").each((one) => one.int()),
    variables: fields.get("variables").each((one) => one.string()),
    turns: fields.find("turns")?.orNull((one) => one.fields(turns)) ?? null,
  };
  fields.rules({
    stop_tokens: found.stopTokens.length > 0,
    image_marks: Object.values(found.images).every((one) => one.length > 0),
  });
  return found;
}

function turns(fields: Fields) {
  const turn = (one: Fields) => ({ before: one.get("before").string(), after: one.get("after").string() });
  return {
    roles: fields.get("roles").each((one) => one.fields(turn)),
    generation: fields.get("generation").string(),
  };
}

export function generation(fields: Fields): Generation {
  const found: Generation = {
    repetitionPenalty: fields.find("repetition_penalty")?.number() ?? 1,
    noRepeatNgram: fields.find("no_repeat_ngram")?.int() ?? 0,
    minLength: fields.find("min_length")?.int() ?? 0,
    minNewTokens: fields.find("min_new_tokens")?.int() ?? 0,
    suppressTokens: fields.find("suppress_tokens")?.ints() ?? [],
    beginSuppressTokens: fields.find("begin_suppress_tokens")?.ints() ?? [],
  };
  const isCount = (one: number) => one >= 0 && one <= MOST;
  fields.rules({
    repetition_penalty: found.repetitionPenalty >= 1e-6 && found.repetitionPenalty <= 1e6,
    no_repeat_ngram: isCount(found.noRepeatNgram),
    min_length: isCount(found.minLength),
    min_new_tokens: isCount(found.minNewTokens),
    suppress_tokens: [...found.suppressTokens, ...found.beginSuppressTokens].every((one) => one >= 0),
  });
  return found;
}

export function ranks(fields: Fields) {
  fields.get("logit_error").number();
  fields.get("value_error").number();
  fields.get("is_proved").boolean();
  return { key: fields.get("key_rank").int(), value: fields.get("value_rank").int() };
}

export function file(fields: Fields) {
  const found = { bytes: fields.get("bytes").int(), sha256: fields.get("sha256").string() };
  fields.rules({ "sha256 or bytes": found.bytes >= 0 && /^[0-9a-f]{64}$/.test(found.sha256) });
  return found;
}

export function integers(fields: Fields): string {
  fields.get("algorithm").string();
  fields.get("weights").each((one) => one.int());
  return fields.get("recipe").string();
}
