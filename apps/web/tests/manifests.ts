import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Manifest } from "../src/lib/manifest.js";
import { readManifest } from "../src/lib/manifest-reader.js";

export function manifestOf(folder: string): Promise<Manifest> {
  return readManifest(new Uint8Array(readFileSync(`${folder}/phantom.json`)), "BUNDLE/");
}

// biome-ignore lint/suspicious/noExplicitAny: a document whose fields a test changes
export type Document = any;

/** The bytes of a changed manifest, sealed as if it had been exported so. */
export function resealed(folder: string, change: (document: Document) => void): Uint8Array {
  const document = JSON.parse(readFileSync(`${folder}/phantom.json`, "utf8"));
  change(document);
  document.seal = "0".repeat(64);
  const text = JSON.stringify(document, null, 1);
  const seal = createHash("sha256").update(text).digest("hex");
  return new TextEncoder().encode(text.replace("0".repeat(64), seal));
}
