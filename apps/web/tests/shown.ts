import type { PictureSource } from "../src/lib/images.js";
import { bytesOf } from "./conformance.js";

/** A picture of the conformance data as a file's content. */
export function pictureOf(name: string): PictureSource {
  return new Blob([bytesOf(`pictures/${name}`)], { type: "image/png" });
}
