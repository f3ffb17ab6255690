// Answers a question from a picture: node answer.mjs BUNDLE PICTURE QUESTION
// npm install onnxruntime-node @huggingface/tokenizers @huggingface/jinja sharp
// phantom.json holds every number.
import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { Template } from "@huggingface/jinja";
import { Tokenizer } from "@huggingface/tokenizers";
import * as ort from "onnxruntime-node";
import sharp from "sharp";

delete globalThis.Float16Array; // before Node 24 there is none, and onnxruntime-node 1.30 misreads it: bits serve all
const ARRAYS = { float32: Float32Array, float16: Uint16Array, int8: Int8Array };

const single = new Float32Array(1), singleBits = new Uint32Array(single.buffer);

/** The bits of a number in float16, rounded to nearest, ties to even. */
function halfOf(number) {
  const size = Math.abs(number), isSmall = size < 2 ** -14;
  single[0] = isSmall ? size + 0.5 : size; // the sum is rounded to steps of 2 ** -24
  const word = singleBits[0];
  const rounded = isSmall ? word - 0x3f000000 : (word - 0x38000000 + 0xfff + ((word >> 13) & 1)) >> 13;
  return Math.min(rounded, 0x7c00) | (number < 0 ? 0x8000 : 0);
}

/** The number that bits of float16 stand for. */
function numberOf(half) {
  const exponent = (half >> 10) & 31, digits = (half & 1023) + (exponent ? 1024 : 0);
  const size = exponent === 31 ? NaN : digits * 2 ** (Math.max(exponent, 1) - 25);
  return half & 0x8000 ? -size : size;
}

const numbersOf = ({ type, data }) => (type === "float16" ? Float32Array.from(data, numberOf) : data);
const tensorOf = (dtype, numbers, shape) =>
  new ort.Tensor(dtype, dtype === "float16" ? Uint16Array.from(numbers, halfOf) : numbers, shape);

/** Pixels {width, height, data: RGB in 8 bits}: upright and opaque. */
async function decoded(path, background) {
  const image = sharp(path, { ignoreIcc: true });
  const about = await image.metadata();
  if (about.depth === "ushort" && about.channels === 1) {
    const pixels = image.autoOrient().toColourspace("grey16").raw({ depth: "ushort" });
    const { data: wide, info } = await pixels.toBuffer({ resolveWithObject: true });
    const data = new Uint8Array(3 * info.width * info.height);
    for (let i = 0; i < data.length; i++) data[i] = Math.floor(wide.readUInt16LE(2 * Math.floor(i / 3)) / 257 + 0.5);
    return { ...info, data };
  }
  const pixels = image.autoOrient().toColourspace("srgb").ensureAlpha().raw();
  const { data, info } = await pixels.toBuffer({ resolveWithObject: true });
  const rgb = new Uint8Array(3 * info.width * info.height);
  for (let i = 0; i < rgb.length; i++) {
    const place = 4 * Math.floor(i / 3), alpha = data[place + 3];
    rgb[i] = Math.floor((data[place + (i % 3)] * alpha + background[i % 3] * (255 - alpha)) / 255 + 0.5);
  }
  return { ...info, data: rgb };
}

/** For each of `to` pixels: the first of its `from` pixels, and their integer weights. */
function weightsOf(from, to, { cubic_a: a, fractional_bits: bits }) {
  const scale = from / to, stretch = Math.max(scale, 1), support = 2 * stretch;
  const cubic = (x) => (x < 1 ? ((a + 2) * x - (a + 3)) * x * x + 1 : x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0);
  return Array.from({ length: to }, (_, i) => {
    const center = (i + 0.5) * scale;
    const first = Math.max(Math.trunc(center - support + 0.5), 0);
    const end = Math.min(Math.trunc(center + support + 0.5), from);
    const at = (j) => Math.abs((first + j - center + 0.5) * (1 / stretch));
    const real = Array.from({ length: end - first }, (_, j) => cubic(at(j)));
    const sum = real.reduce((total, one) => total + one, 0);
    return [first, real.map((one) => Math.trunc((one / sum) * 2 ** bits + Math.sign(one) * 0.5))];
  });
}

/** Pixels resampled along one axis; steps and strides are bytes between pixels of a line, and between lines. */
function resampled(source, from, to, lines, step, stride, newStep, newStride, rules) {
  if (from === to) return source;
  const target = new Uint8Array(3 * lines * to), shift = rules.fractional_bits;
  weightsOf(from, to, rules).forEach(([first, weights], i) => {
    for (let line = 0; line < lines; line++)
      for (let channel = 0; channel < 3; channel++) {
        let sum = 1 << (shift - 1);
        weights.forEach((weight, j) => (sum += weight * source[line * stride + (first + j) * step + channel]));
        target[line * newStride + i * newStep + channel] = Math.min(Math.max(sum >> shift, 0), 255);
      }
  });
  return target;
}

function resized({ width, height, data }, wide, high, rules) {
  const across = resampled(data, width, wide, height, 3, 3 * width, 3, 3 * wide, rules);
  return resampled(across, height, high, wide, 3 * wide, 3, 3 * wide, 3, rules);
}

/** Normalized tiles, Float32Array (3, side, side): the grid's, row by row, and the thumbnail. */
function tilesOf(picture, rules) {
  const { width, height } = picture, side = rules.tile_size;
  let nearest = Infinity, grid = [1, 1];
  for (const [wide, high] of rules.grids) {
    const distance = Math.abs(width / height - wide / high);
    const isLarger = width * height > rules.tie_area * side ** 2 * wide * high;
    if (distance < nearest || (distance === nearest && isLarger)) [nearest, grid] = [distance, [wide, high]];
  }
  const [wide, high] = grid, round = Math.fround;
  const normal = (value, c) => round(round(round(value / 255) - round(rules.mean[c])) / round(rules.std[c]));
  const table = [0, 1, 2].map((c) => Float32Array.from({ length: 256 }, (_, value) => normal(value, c)));
  const cut = (pixels, across, left, top) =>
    Float32Array.from({ length: 3 * side * side }, (_, i) => {
      const channel = Math.floor(i / side ** 2), y = Math.floor(i / side) % side, x = i % side;
      return table[channel][pixels[3 * ((top + y) * across + left + x) + channel]];
    });
  const whole = resized(picture, wide * side, high * side, rules.resizing);
  const tileOf = (_, i) => cut(whole, wide * side, (i % wide) * side, Math.floor(i / wide) * side);
  const tiles = Array.from({ length: wide * high }, tileOf);
  if (rules.thumbnail && tiles.length > 1) tiles.push(cut(resized(picture, side, side, rules.resizing), side, 0, 0));
  return tiles;
}

/** The text of a prompt with one picture. */
function promptOf(question, tiles, folder, { prompt, pictures }) {
  const { images, turns } = prompt;
  const found = [images.mark, ...prompt.reserved].find((text) => question.includes(text));
  if (found) throw new Error(`the question contains ${found}`);
  const content = images.mark + question;
  let text;
  if (turns) text = turns.roles.user.before + content + turns.roles.user.after + turns.generation;
  else {
    const template = new Template(readFileSync(`${folder}/${prompt.chat_template}`, "utf8"));
    const messages = [{ role: "user", content }];
    const known = { messages, add_generation_prompt: true, tools: null, documents: null };
    text = template.render({ ...prompt.variables, ...known });
  }
  const context = images.context.repeat(tiles * pictures.tokens_per_tile);
  return text.split(images.mark).join(images.start + context + images.end);
}

/** A row of the table of embeddings in float32. */
function rowOf(id, file, table) {
  const { width, rounded } = table, dtype = rounded ? rounded.scale_dtype : table.dtype;
  const stored = (Type, offset, count) => {
    const bytes = new Uint8Array(count * Type.BYTES_PER_ELEMENT);
    readSync(file, bytes, 0, bytes.length, offset + id * bytes.length);
    return new Type(bytes.buffer);
  };
  const numbers = (offset, count) => numbersOf({ type: dtype, data: stored(ARRAYS[dtype], offset, count) });
  if (!rounded) return numbers(table.offset, width);
  const { bits, block } = rounded, blocks = Math.ceil(width / block);
  const integer = (bytes, i) => (bits === 8 ? bytes[i] : (bytes[i >> 1] >> (4 * (i & 1))) & 15); // the low half first
  const integers = stored(Uint8Array, table.offset, (blocks * block * bits) / 8);
  const scales = numbers(rounded.scales, blocks), points = rounded.zero_points;
  const zeros = points === null ? null : stored(Uint8Array, points, Math.ceil((blocks * bits) / 8));
  return Float32Array.from({ length: width }, (_, i) => {
    const place = Math.floor(i / block);
    return (integer(integers, i) - (zeros ? integer(zeros, place) : rounded.zero_offset)) * scales[place];
  });
}

/** The likeliest token after `ids`, of which `prompted` are the prompt's, by the model's settings; changes logits. */
function chosen(logits, ids, prompted, { generation, prompt }) {
  const { repetition_penalty = 1, no_repeat_ngram: size = 0, min_length = 0, min_new_tokens = 0 } = generation;
  const { suppress_tokens = [], begin_suppress_tokens = [] } = generation;
  if (!logits.every(Number.isFinite)) throw new Error("the bundle computed logits that are not finite");
  const penalty = Math.fround(repetition_penalty), banned = [];
  for (const id of new Set(ids)) logits[id] = logits[id] < 0 ? logits[id] * penalty : logits[id] / penalty;
  for (let end = size; size > 0 && end <= ids.length; end++)
    if (ids.slice(ids.length + 1 - size).every((id, i) => id === ids[end - size + i])) banned.push(ids[end - 1]);
  if (ids.length < min_length || ids.length - prompted < min_new_tokens) banned.push(...prompt.stop_tokens);
  banned.push(...suppress_tokens, ...(ids.length === prompted ? begin_suppress_tokens : []));
  for (const id of banned) logits[id] = -Infinity;
  const token = logits.reduce((best, value, i) => (value > logits[best] ? i : best), 0);
  if (logits[token] === -Infinity) throw new Error("the model's settings leave no token to choose");
  return token;
}

/** Answers greedily with at most `most` tokens. */
async function answer(folder, picture, question, most = 256) {
  const manifest = JSON.parse(readFileSync(`${folder}/phantom.json`, "utf8"));
  const { prompt, pictures, embedding: table, parts, cache } = manifest, { vision, decoder } = parts;
  const types = Object.fromEntries([...vision.inputs, ...decoder.inputs].map((port) => [port.name, port.dtype]));

  const encoder = await ort.InferenceSession.create(`${folder}/${vision.file}`);
  const tiles = tilesOf(await decoded(picture, pictures.decoding.background), pictures), seen = [];
  for (const tile of tiles) {
    const pixels = tensorOf(types.pixel_values, tile, vision.inputs[0].shape);
    seen.push(numbersOf((await encoder.run({ pixel_values: pixels })).image_tokens));
  }

  const tokenizer = new Tokenizer(JSON.parse(readFileSync(`${folder}/${prompt.tokenizer}`, "utf8")), {});
  const { ids } = tokenizer.encode(promptOf(question, tiles.length, folder, manifest), { add_special_tokens: false });
  if (ids[0] !== prompt.first_token) throw new Error("this prompt begins with another token than this bundle's");
  if (ids.length >= cache.max_context) throw new Error("this prompt is too long");
  const file = openSync(`${folder}/${table.file}`, "r");
  let image = 0; // image tokens used
  const rows = ids.map((id) => {
    if (id !== prompt.image_token) return rowOf(id, file, table);
    const tile = seen[Math.floor(image / pictures.tokens_per_tile)];
    const start = (image++ % pictures.tokens_per_tile) * table.width;
    return tile.subarray(start, start + table.width);
  });

  const session = await ort.InferenceSession.create(`${folder}/${decoder.file}`);
  const pasts = decoder.inputs
    .filter((port) => port.name.startsWith("past_"))
    .map(({ name, dtype, shape: [, width] }) => {
      return { name, dtype, width, rows: new ARRAYS[dtype](cache.max_context * width) };
    });
  let filled = 0;
  const forward = async (chunk) => {
    const count = chunk.length, embeds = new Float32Array(count * table.width);
    const places = BigInt64Array.from({ length: count }, (_, i) => BigInt(filled + i));
    chunk.forEach((row, i) => embeds.set(row, i * table.width));
    const inputs = {
      inputs_embeds: tensorOf(types.inputs_embeds, embeds, [count, table.width]),
      position_ids: new ort.Tensor("int64", places, [1, count]),
      logits_to_keep: new ort.Tensor("int64", BigInt64Array.of(BigInt(count - 1)), [1]),
    };
    for (const { name, dtype, width, rows } of pasts)
      inputs[name] = new ort.Tensor(dtype, rows.subarray(0, filled * width), [filled, width]);
    const found = await session.run(inputs);
    for (const { name, width, rows } of pasts) rows.set(found[name.replace("past_", "new_")].data, filled * width);
    filled += count;
    return numbersOf(found.logits);
  };

  let logits;
  const size = manifest.prefill_chunk;
  for (let start = 0; start < rows.length; start += size) logits = await forward(rows.slice(start, start + size));
  const tokens = [];
  for (;;) {
    const token = chosen(logits, [...ids, ...tokens], ids.length, manifest);
    if (prompt.stop_tokens.includes(token)) break;
    tokens.push(token);
    if (tokens.length === most || filled === cache.max_context) break;
    logits = await forward([rowOf(token, file, table)]);
  }
  closeSync(file);
  const plainly = { skip_special_tokens: true, clean_up_tokenization_spaces: false };
  return tokens.length ? tokenizer.decode(tokens, plainly) : "";
}

const [folder, picture, question] = process.argv.slice(2);
console.log(await answer(folder, picture, question));
