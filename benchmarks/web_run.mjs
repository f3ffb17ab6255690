// A bundle in ONNX Runtime Web, in WASM with one thread, driven line by line: web.py starts it in a folder where the
// packages and the programs of READMEs lie.
//
//     node web_run.mjs BUNDLE [vision]
//
// Reads {"prompt": N, "decode": K} and answers with CPU seconds of a tile (where the part is loaded), of the prompt, and of
// every token.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import * as ort from "onnxruntime-web";
import { rowOf } from "./numbers.mjs";
import { reader } from "./steps.mjs";

ort.env.wasm.numThreads = 1;
const [folder, withVision] = process.argv.slice(2);
const bytes = (name) => new Uint8Array(readFileSync(`${folder}/${name}`));
const manifest = JSON.parse(new TextDecoder().decode(bytes("phantom.json")));
const own = { vision: "vision", decoder: "decoder", embedding: manifest.embedding }; // of a bundle for any ONNX Runtime
const form = manifest.facts.engines?.wasm ?? own, table = form.embedding;
const parts = { vision: manifest.parts[form.vision], decoder: manifest.parts[form.decoder] };
const begun = (part) =>
  ort.InferenceSession.create(bytes(part.file), {
    executionProviders: ["wasm"],
    externalData: part.weights.map((path) => ({ path, data: bytes(path) })),
    logSeverityLevel: 3,
  });

/** Most memory of this process so far, megabytes; null where the system does not say. */
function peak() {
  try {
    return Math.round(Number(/VmHWM:\s*(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))[1]) * 1.024e-3);
  } catch {
    return null; // not Linux
  }
}

/** CPU seconds of a step, and its result. */
const seconds = async (step) => {
  const start = process.cpuUsage(), found = await step(), { user, system } = process.cpuUsage(start);
  return [(user + system) / 1e6, found];
};
const [loaded, sessions] = await seconds(async () => ({
  encoder: withVision ? await begun(parts.vision) : null,
  session: await begun(parts.decoder),
}));
const file = bytes(table.file), vocabulary = manifest.model.vocab_size, chunk = manifest.prefill_chunk;
const row = (id) => rowOf(id, (offset, size) => file.subarray(offset, offset + size), table);
const model = { ort, manifest, parts, table, session: sessions.session, first: null };
const [port] = parts.vision.inputs;
const tile = new Float32Array(port.shape.reduce((product, size) => product * size));
console.log(JSON.stringify({ load_seconds: loaded }));

for await (const line of createInterface({ input: process.stdin })) {
  const { prompt, decode } = JSON.parse(line), forward = reader(model), steps = [];
  const see = () => sessions.encoder.run({ [port.name]: new ort.Tensor(tile, port.shape) });
  const [seen] = sessions.encoder ? await seconds(see) : [null];
  const ids = Array.from({ length: prompt }, (_, i) => ((7919 * i + 13) % (vocabulary - 1000)) + 500);
  ids[0] = manifest.prompt.first_token;
  let logits;
  const [read] = await seconds(async () => {
    for (let start = 0; start < prompt; start += chunk) logits = await forward(ids.slice(start, start + chunk).map(row));
  });
  for (let step = 0; step < decode; step++) {
    const [took] = await seconds(async () => {
      const token = logits.reduce((best, value, i) => (value > logits[best] ? i : best), 0);
      logits = await forward([row(token)]);
    });
    steps.push(took);
  }
  console.log(JSON.stringify({ tile_seconds: seen, prompt_seconds: read, step_seconds: steps, peak: peak() }));
}
