// Answers a question from a picture, in Node: node answer.mjs BUNDLE PICTURE QUESTION
// npm install onnxruntime-web @huggingface/tokenizers @huggingface/jinja sharp
// Node has no WebGPU: of a bundle for that engine alone, its graphs run in WASM here.
import { readFileSync } from "node:fs";
import * as ort from "onnxruntime-web";
import { opened } from "./bundle.mjs";
import { decoded } from "./decoded.mjs";
import { answer } from "./steps.mjs";

const [folder, picture, question] = process.argv.slice(2);
const load = async (name) => new Uint8Array(readFileSync(`${folder}/${name}`));
const manifest = JSON.parse(new TextDecoder().decode(await load("phantom.json")));
const { engines } = manifest.facts;
engines.wasm ??= engines.webgpu;
ort.env.wasm.numThreads = 1;
const model = await opened(ort, manifest, "wasm", load);
console.log(await answer(model, await decoded(picture, manifest.pictures.decoding.background), question));
