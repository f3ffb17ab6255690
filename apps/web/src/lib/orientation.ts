/** A chunk of a PNG: `start` and `end` are those of its content. */
export interface Chunk {
  readonly kind: string;
  readonly start: number;
  readonly end: number;
}

const PNG = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const EXIF = "Exif\0\0";
const ADOBE = "http://ns.adobe.com/xap/1.0/\0";
const XMP = /tiff:Orientation\s*(?:=\s*["']|>)\s*([1-8])/;
const TAG = 0x0112;
const UPRIGHT = 1;

/** The format of an encoded picture, as far as its orientation stands in a place of its own. */
export type Format = "png" | "jpeg" | "webp" | "other";

export function formatOf(bytes: Uint8Array): Format {
  if (bytes.length > PNG.length && PNG.every((byte, place) => bytes[place] === byte)) return "png";
  if (bytes.length > 2 && bytes[0] === 0xff && bytes[1] === 0xd8) return "jpeg";
  return startsWith(bytes, 0, "RIFF") && startsWith(bytes, 8, "WEBP") ? "webp" : "other";
}

/** The orientation, 1 to 8, of an encoded picture, and whether it is EXIF's or XMP's. */
export interface Orientation {
  readonly value: number;
  readonly source: "exif" | "xmp" | "none";
}

interface Metadata {
  exif?: Uint8Array;
  xmp?: string;
}

/** The orientation by EXIF, else by XMP; 1 where a picture has none, or a damaged one. */
export function orientationOf(bytes: Uint8Array): Orientation {
  const found: Metadata = {};
  const read = { png: readPng, jpeg: readJpeg, webp: readWebp, other: undefined }[formatOf(bytes)];
  read?.(bytes, found);
  const exif = found.exif && tiffOrientation(found.exif);
  if (exif) return { value: exif, source: "exif" };
  const xmp = found.xmp && XMP.exec(found.xmp)?.[1];
  return xmp ? { value: Number(xmp), source: "xmp" } : { value: UPRIGHT, source: "none" };
}

function startsWith(bytes: Uint8Array, at: number, text: string): boolean {
  if (at + text.length > bytes.length) return false;
  return Array.from(text).every((letter, place) => bytes[at + place] === letter.charCodeAt(0));
}

function textOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The chunks of a PNG; a cut one and all behind it are left out. */
export function pngChunks(bytes: Uint8Array): Chunk[] {
  const found: Chunk[] = [];
  const view = viewOf(bytes);
  let at = PNG.length;
  while (at + 12 <= bytes.length) {
    const size = view.getUint32(at);
    if (size > bytes.length - at - 12) break;
    const kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    found.push({ kind, start: at + 8, end: at + 8 + size });
    at += 12 + size;
  }
  return found;
}

function readPng(bytes: Uint8Array, found: Metadata): void {
  for (const { kind, start, end } of pngChunks(bytes)) {
    if (kind === "eXIf") found.exif = bytes.subarray(start, end);
    if (kind === "iTXt") {
      const text = textOf(bytes.subarray(start, end));
      if (text.includes("adobe.xmp")) found.xmp = text;
    }
  }
}

function readJpeg(bytes: Uint8Array, found: Metadata): void {
  let at = 2;
  while (at + 4 <= bytes.length && bytes[at] === 0xff) {
    const marker = bytes[at + 1]!;
    if (marker === 0xff) {
      at++; // padding
      continue;
    }
    const size = (bytes[at + 2]! << 8) | bytes[at + 3]!;
    if (marker === 0xda || size < 2 || at + 2 + size > bytes.length) return;
    const segment = bytes.subarray(at + 4, at + 2 + size);
    if (marker === 0xe1 && startsWith(segment, 0, EXIF)) found.exif ??= segment.subarray(EXIF.length);
    else if (marker === 0xe1 && startsWith(segment, 0, ADOBE)) found.xmp ??= textOf(segment);
    at += 2 + size;
  }
}

function readWebp(bytes: Uint8Array, found: Metadata): void {
  const view = viewOf(bytes);
  let at = 12;
  while (at + 8 <= bytes.length) {
    const size = view.getUint32(at + 4, true);
    const content = bytes.subarray(at + 8, at + 8 + size);
    if (startsWith(bytes, at, "EXIF")) {
      found.exif = startsWith(content, 0, EXIF) ? content.subarray(EXIF.length) : content;
    } else if (startsWith(bytes, at, "XMP ")) {
      found.xmp = textOf(content);
    }
    at += 8 + size + (size % 2);
  }
}

/** The orientation in TIFF's directory, undefined where there is none or its numbers point outside of it. */
function tiffOrientation(tiff: Uint8Array): number | undefined {
  const view = viewOf(tiff);
  if (view.byteLength < 8) return undefined;
  const isLittle = view.getUint16(0) === 0x4949;
  const entries = view.getUint32(4, isLittle);
  if (entries + 2 > view.byteLength) return undefined;
  const count = view.getUint16(entries, isLittle);
  for (let at = entries + 2; at < entries + 2 + 12 * count && at + 12 <= view.byteLength; at += 12) {
    if (view.getUint16(at, isLittle) !== TAG) continue;
    const value = view.getUint16(at + 8, isLittle); // a short, in the first bytes of the field
    return value >= 1 && value <= 8 ? value : undefined;
  }
  return undefined;
}
