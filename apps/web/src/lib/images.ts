import { reasonOf } from "./errors.js";
import { formatOf, orientationOf } from "./orientation.js";
import { badPicture, checkSize, ofRgba, type Pixels, turned } from "./pixels.js";
import { decodePng } from "./png.js";

/**
 * A picture: an encoded file (a `File` of an input, a response's `Blob`, bytes), or decoded pixels.
 *
 * Of a video or a canvas, give `await createImageBitmap(video)`.
 */
export type PictureSource = Blob | ArrayBuffer | Uint8Array | ImageData | ImageBitmap;

const SAVE_AS = "save it as PNG or JPEG";

/** Reads a picture: upright pixels of 8 bits a channel, without colour management. Raises PhantomError. */
export async function readPicture(source: PictureSource): Promise<Pixels> {
  if (typeof ImageBitmap !== "undefined" && source instanceof ImageBitmap) return ofBitmap(source);
  if (typeof ImageData !== "undefined" && source instanceof ImageData) {
    return ofRgba(source.width, source.height, source.data as Uint8ClampedArray);
  }
  return decoded(await bytesOf(source as Blob | ArrayBuffer | Uint8Array));
}

async function bytesOf(source: Blob | ArrayBuffer | Uint8Array): Promise<Uint8Array<ArrayBuffer>> {
  try {
    if (source instanceof Blob) return new Uint8Array(await source.arrayBuffer());
  } catch (error) {
    throw badPicture(`the picture cannot be read (${reasonOf(error)})`, "choose it again", error);
  }
  if (source instanceof ArrayBuffer) return new Uint8Array(source);
  if (source instanceof Uint8Array) return new Uint8Array(source);
  throw badPicture(`a picture is ${source === null ? "null" : typeof source}`, "give a File, a Blob or an ImageData");
}

/** Decodes an encoded picture, and turns it as EXIF says, or XMP where EXIF does not. */
export async function decoded(bytes: Uint8Array<ArrayBuffer>): Promise<Pixels> {
  if (bytes.length === 0) throw badPicture("the picture is empty: 0 bytes", SAVE_AS);
  const format = formatOf(bytes);
  const { value, source } = orientationOf(bytes);
  if (format === "png") return turned(await decodePng(bytes), value);
  // A browser reads the EXIF of a JPEG; that of a WebP and XMP are read here.
  const isTurnedByBrowser = format === "other" || (format === "jpeg" && source === "exif");
  const picture = await byBrowser(bytes, isTurnedByBrowser);
  return isTurnedByBrowser ? picture : turned(picture, value);
}

async function byBrowser(bytes: Uint8Array<ArrayBuffer>, isTurned: boolean): Promise<Pixels> {
  if (typeof createImageBitmap === "undefined") {
    throw badPicture("this program decodes PNG alone, for want of createImageBitmap", "give PNG, or an ImageData");
  }
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(new Blob([bytes]), {
      imageOrientation: isTurned ? "from-image" : "none",
      colorSpaceConversion: "none",
      premultiplyAlpha: "none",
    });
  } catch (error) {
    throw badPicture(
      `the picture of ${bytes.length} bytes is damaged or of no known format (${reasonOf(error)})`,
      SAVE_AS,
      error,
    );
  }
  try {
    return ofBitmap(bitmap);
  } finally {
    bitmap.close();
  }
}

function ofBitmap(bitmap: ImageBitmap): Pixels {
  const { width, height } = bitmap;
  checkSize(width, height);
  const canvas = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  if (canvas === null) throw badPicture("the browser gives no canvas for a picture", "close other tabs and try again");
  canvas.drawImage(bitmap, 0, 0);
  return ofRgba(width, height, canvas.getImageData(0, 0, width, height).data);
}
