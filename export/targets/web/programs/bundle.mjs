// A bundle for ONNX Runtime Web: the files that an engine needs, and its sessions.

/** The engine to use here: "webgpu" where the bundle has it and this browser can run it, else "wasm". */
export async function engineFor(manifest) {
  const { wasm, webgpu } = manifest.facts.engines;
  const adapter = webgpu && (await globalThis.navigator?.gpu?.requestAdapter());
  const halves = webgpu && manifest.parts[webgpu.decoder].precision === "fp16";
  if (adapter && (!halves || adapter.features.has("shader-f16"))) return "webgpu";
  if (!wasm) throw new Error("this bundle needs WebGPU, which this browser lacks");
  return "wasm";
}

/** Names of the files to load for an engine; their sizes stand in `manifest.files`. */
export function filesOf(manifest, engine) {
  return [...manifest.facts.engines[engine].files, manifest.prompt.tokenizer, manifest.prompt.chat_template];
}

/** Opens a bundle with an engine; `load(name)` returns a file as a Uint8Array. Refuses damaged files. */
export async function opened(ort, manifest, engine, load) {
  const form = manifest.facts.engines[engine], { prompt, cache } = manifest, files = {};
  for (const name of filesOf(manifest, engine)) {
    files[name] = await load(name);
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", files[name]));
    const found = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
    if (found !== manifest.files[name].sha256) throw new Error(`${name} is damaged: load the bundle again`);
  }
  const parts = { vision: manifest.parts[form.vision], decoder: manifest.parts[form.decoder] };
  const begun = (part) =>
    ort.InferenceSession.create(files[part.file], {
      executionProviders: [engine],
      externalData: part.weights.map((path) => ({ path, data: files[path] })),
    });
  const text = (name) => new TextDecoder().decode(files[name]), table = form.embedding;
  return {
    ort,
    engine,
    manifest,
    parts,
    encoder: await begun(parts.vision),
    session: await begun(parts.decoder),
    table,
    read: (offset, size) => files[table.file].subarray(offset, offset + size),
    tokenizer: JSON.parse(text(prompt.tokenizer)),
    template: text(prompt.chat_template),
    first: engine === "webgpu" ? files[cache.first_row.file] : null, // WebGPU takes no empty array
  };
}
