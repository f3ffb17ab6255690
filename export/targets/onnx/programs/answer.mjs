// Answers a question from a picture: node answer.mjs BUNDLE PICTURE QUESTION
// npm install onnxruntime-node @huggingface/tokenizers @huggingface/jinja sharp
// phantom.json holds every number. The other files of this program lie beside this one.
import { openSync, readFileSync, readSync } from "node:fs";
import * as ort from "onnxruntime-node";
import { decoded } from "./decoded.mjs";
import { answer } from "./steps.mjs";

delete globalThis.Float16Array; // before Node 24 there is none, and onnxruntime-node 1.30 misreads it: bits serve all

const [folder, picture, question] = process.argv.slice(2);
const text = (name) => readFileSync(`${folder}/${name}`, "utf8");
const manifest = JSON.parse(text("phantom.json")), { parts, prompt, embedding: table } = manifest;
const file = openSync(`${folder}/${table.file}`, "r");
const read = (offset, size) => {
  const bytes = new Uint8Array(size);
  readSync(file, bytes, 0, size, offset);
  return bytes;
};
const pixels = await decoded(picture, manifest.pictures.decoding.background);
const encoder = await ort.InferenceSession.create(`${folder}/${parts.vision.file}`);
const session = await ort.InferenceSession.create(`${folder}/${parts.decoder.file}`);
const [tokenizer, template] = [JSON.parse(text(prompt.tokenizer)), text(prompt.chat_template)];
const model = { ort, manifest, parts, encoder, session, table, read, tokenizer, template, first: null };
console.log(await answer(model, pixels, question));
