// The steps from pixels and a question to an answer, in any ONNX Runtime for JavaScript.
import { Tokenizer } from "@huggingface/tokenizers";
import { ARRAYS, inFormat, numbersOf, rowOf, stored } from "./numbers.mjs";
import { tilesOf } from "./pictures.mjs";
import { chosen, promptOf } from "./words.mjs";

const PLAINLY = { skip_special_tokens: true, clean_up_tokenization_spaces: false };

/**
 * Answers greedily with at most `most` tokens; `show` gets the answer so far after each.
 *
 * `model` is an opened bundle: `ort`, `manifest`, `parts` (vision and decoder, as the manifest lists them), `encoder`
 * and `session` (their sessions), `table` (of embeddings), `read(offset, size)` (bytes of the table's file),
 * `tokenizer` (its file, parsed), `template` (text) and `first` (bytes of the first token's rows, or null: feed it).
 */
export async function answer(model, pixels, question, show = () => {}, most = 256) {
  const { manifest, parts, table } = model, { prompt, pictures, cache } = manifest, tensor = tensors(model);
  const tiles = tilesOf(pixels, pictures), seen = [], [port] = parts.vision.inputs;
  for (const tile of tiles) {
    const found = await model.encoder.run({ [port.name]: tensor(port.dtype, tile, port.shape) });
    seen.push(numbersOf(found.image_tokens));
  }

  const tokenizer = new Tokenizer(model.tokenizer, {});
  const text = promptOf(question, tiles.length, model.template, manifest);
  const { ids } = tokenizer.encode(text, { add_special_tokens: false });
  if (ids[0] !== prompt.first_token) throw new Error("this prompt begins with another token than this bundle's");
  if (ids.length >= cache.max_context) throw new Error("this prompt is too long");
  let image = 0; // image tokens used
  const rows = ids.map((id) => {
    if (id !== prompt.image_token) return rowOf(id, model.read, table);
    const tile = seen[Math.floor(image / pictures.tokens_per_tile)];
    const start = (image++ % pictures.tokens_per_tile) * table.width;
    return tile.subarray(start, start + table.width);
  });

  const forward = reader(model);
  const size = manifest.prefill_chunk, tokens = [];
  let logits;
  for (let start = model.first ? 1 : 0; start < rows.length; start += size)
    logits = await forward(rows.slice(start, start + size));
  for (let filled = ids.length; ; filled++) {
    const token = chosen(logits, [...ids, ...tokens], ids.length, manifest);
    if (prompt.stop_tokens.includes(token)) break;
    tokens.push(token);
    show(tokenizer.decode(tokens, PLAINLY));
    if (tokens.length === most || filled === cache.max_context) break;
    logits = await forward([rowOf(token, model.read, table)]);
  }
  return tokens.length ? tokenizer.decode(tokens, PLAINLY) : "";
}

/** A function that makes tensors of numbers. */
const tensors = ({ ort }) => (dtype, numbers, shape) => new ort.Tensor(dtype, inFormat(dtype, numbers), shape);

/** A function that feeds rows of embeddings behind those fed before, and returns the logits of the last. */
export function reader(model) {
  const { ort, manifest, parts, table, session, first } = model, tensor = tensors(model);
  const { inputs } = parts.decoder, [{ dtype: given }] = inputs.filter(({ name }) => name === "inputs_embeds");
  let place = 0; // in the first token's rows, bytes
  const pasts = inputs.filter(({ name }) => name.startsWith("past_")).map(({ name, dtype, shape: [, width] }) => {
    const rows = new ARRAYS[dtype](manifest.cache.max_context * width), size = width * rows.BYTES_PER_ELEMENT;
    if (first) new Uint8Array(rows.buffer).set(first.subarray(place, (place += size)));
    return { name, dtype, width, rows };
  });
  let filled = first ? 1 : 0;
  return async (chunk) => {
    const count = chunk.length, embeds = new Float32Array(count * table.width);
    const places = BigInt64Array.from({ length: count }, (_, i) => BigInt(filled + i));
    chunk.forEach((row, i) => embeds.set(row, i * table.width));
    const fed = {
      inputs_embeds: tensor(given, embeds, [count, table.width]),
      position_ids: new ort.Tensor("int64", places, [1, count]),
      logits_to_keep: new ort.Tensor("int64", BigInt64Array.of(BigInt(count - 1)), [1]),
    };
    for (const { name, dtype, width, rows } of pasts)
      fed[name] = new ort.Tensor(dtype, rows.subarray(0, filled * width), [filled, width]);
    const found = await session.run(fed);
    for (const { name, width, rows } of pasts) rows.set(stored(found[name.replace("past_", "new_")]), filled * width);
    filled += count;
    return numbersOf(found.logits);
  };
}
