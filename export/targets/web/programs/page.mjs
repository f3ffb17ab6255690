// Answers a question from a picture, in a page.
import { engineFor, opened } from "./bundle.mjs";
import { answer } from "./steps.mjs";

/** Opens the bundle at a URL that ends in "/". Everything that it needs is held in memory. */
export async function openedAt(url) {
  const load = async (name) => {
    const response = await fetch(url + name);
    if (!response.ok) throw new Error(`${url + name}: ${response.status} ${response.statusText}`);
    return new Uint8Array(await response.arrayBuffer());
  };
  const manifest = JSON.parse(new TextDecoder().decode(await load("phantom.json")));
  const engine = await engineFor(manifest);
  const ort = await (engine === "webgpu" ? import("onnxruntime-web/webgpu") : import("onnxruntime-web/wasm"));
  return opened(ort, manifest, engine, load);
}

/** Pixels of a picture's file (a Blob): upright and opaque, 8 bits a channel. */
export async function pixelsOf(file, background) {
  const rules = { imageOrientation: "from-image", colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const image = await createImageBitmap(file, rules), { width, height } = image;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const { data: given } = context.getImageData(0, 0, width, height), data = new Uint8Array(3 * width * height);
  for (let i = 0; i < data.length; i++) {
    const place = 4 * Math.floor(i / 3), alpha = given[place + 3];
    data[i] = Math.floor((given[place + (i % 3)] * alpha + background[i % 3] * (255 - alpha)) / 255 + 0.5);
  }
  return { width, height, data };
}

/** Answers a question about a picture's file; `show` gets the text so far. */
export async function ask(model, file, question, show) {
  return answer(model, await pixelsOf(file, model.manifest.pictures.decoding.background), question, show);
}
