import { PhantomError } from "./errors.js";

/** Largest number of pixels: more would fill the memory of a tab. */
export const MOST_PIXELS = 1 << 26;

/** A decoded picture: 8 bits a channel, without colour management. */
export interface Pixels {
  readonly width: number;
  readonly height: number;
  /** R, G and B of each pixel, row by row. */
  readonly rgb: Uint8Array;
  /** Opacity of each pixel, null where all are opaque. */
  readonly alpha: Uint8Array | null;
}

export function badPicture(problem: string, remedy: string, cause?: unknown): PhantomError {
  return new PhantomError("bad picture", problem, remedy, { cause });
}

export function checkSize(width: number, height: number): void {
  if (!(Number.isInteger(width) && Number.isInteger(height) && width >= 1 && height >= 1)) {
    throw badPicture(`the picture has no pixels: ${width} x ${height}`, "give at least 1 x 1");
  }
  if (width * height > MOST_PIXELS) {
    throw badPicture(`a picture of ${width} x ${height} is too large`, "make it smaller first");
  }
}

/** A picture of raw pixels: R, G, B and opacity (not premultiplied), row by row without gaps. */
export function ofRgba(width: number, height: number, pixels: Uint8Array | Uint8ClampedArray): Pixels {
  checkSize(width, height);
  if (pixels.length !== 4 * width * height) {
    throw badPicture(
      `${pixels.length} bytes are no ${width} x ${height} pixels of 4 channels`,
      `give ${4 * width * height} bytes`,
    );
  }
  const rgb = new Uint8Array(3 * width * height);
  const alpha = new Uint8Array(width * height);
  let isOpaque = true;
  for (let at = 0; at < alpha.length; at++) {
    rgb[3 * at] = pixels[4 * at]!;
    rgb[3 * at + 1] = pixels[4 * at + 1]!;
    rgb[3 * at + 2] = pixels[4 * at + 2]!;
    alpha[at] = pixels[4 * at + 3]!;
    isOpaque &&= alpha[at] === 255;
  }
  return { width, height, rgb, alpha: isOpaque ? null : alpha };
}

/** Opaque pixels (R, G, B for each, row by row), laid over a colour. */
export function over({ rgb, alpha }: Pixels, background: readonly number[]): Uint8Array {
  if (alpha === null) return rgb;
  return rgb.map((value, at) => {
    const opacity = alpha[Math.floor(at / 3)]!;
    return Math.floor((value * opacity + background[at % 3]! * (255 - opacity) + 127) / 255); // an odd divisor: no ties
  });
}

/** The picture turned upright by its orientation, 1 to 8. */
export function turned(picture: Pixels, orientation: number): Pixels {
  if (orientation === 1) return picture;
  const { width, height, rgb, alpha } = picture;
  const isTurned = orientation >= 5;
  const [wide, high] = isTurned ? [height, width] : [width, height];
  const isMirroredAcross = [2, 3, 7, 8].includes(orientation);
  const isMirroredDown = [3, 4, 6, 7].includes(orientation);
  const colours = new Uint8Array(rgb.length);
  const opacity = alpha && new Uint8Array(alpha.length);
  let target = 0;
  for (let y = 0; y < high; y++) {
    for (let x = 0; x < wide; x++) {
      const [across, down] = isTurned ? [y, x] : [x, y];
      const column = isMirroredAcross ? width - 1 - across : across;
      const row = isMirroredDown ? height - 1 - down : down;
      const source = row * width + column;
      colours[3 * target] = rgb[3 * source]!;
      colours[3 * target + 1] = rgb[3 * source + 1]!;
      colours[3 * target + 2] = rgb[3 * source + 2]!;
      if (opacity && alpha) opacity[target] = alpha[source]!;
      target++;
    }
  }
  return { width: wide, height: high, rgb: colours, alpha: opacity };
}
