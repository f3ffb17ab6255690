// Pixels of a picture's file, in Node: upright and opaque, 8 bits a channel. A browser decodes by itself.
import sharp from "sharp";

/** Pixels {width, height, data: RGB in 8 bits}: upright and opaque. */
export async function decoded(path, background) {
  const image = sharp(path, { ignoreIcc: true });
  const about = await image.metadata();
  if (about.depth === "ushort" && about.channels === 1) {
    const pixels = image.autoOrient().toColourspace("grey16").raw({ depth: "ushort" });
    const { data: wide, info } = await pixels.toBuffer({ resolveWithObject: true });
    const data = new Uint8Array(3 * info.width * info.height);
    for (let i = 0; i < data.length; i++) data[i] = Math.floor(wide.readUInt16LE(2 * Math.floor(i / 3)) / 257 + 0.5);
    return { ...info, data };
  }
  const pixels = image.autoOrient().toColourspace("srgb").ensureAlpha().raw();
  const { data, info } = await pixels.toBuffer({ resolveWithObject: true });
  const rgb = new Uint8Array(3 * info.width * info.height);
  for (let i = 0; i < rgb.length; i++) {
    const place = 4 * Math.floor(i / 3), alpha = data[place + 3];
    rgb[i] = Math.floor((data[place + (i % 3)] * alpha + background[i % 3] * (255 - alpha)) / 255 + 0.5);
  }
  return { ...info, data: rgb };
}
