import { describe, expect, test } from "vitest";
import { PhantomError } from "../src/lib/errors.js";
import { decoded, readPicture } from "../src/lib/images.js";
import { orientationOf } from "../src/lib/orientation.js";
import { ofRgba, over, turned } from "../src/lib/pixels.js";
import { resized } from "../src/lib/resize.js";
import { sha256 } from "../src/lib/sha256.js";
import { cutTiles, normalized } from "../src/lib/tiling.js";
import { bytesOf, MADE, PICTURES, pixelsOf } from "./conformance.js";
import { manifestOf } from "./manifests.js";

const rules = (await manifestOf(`${MADE}/bundles/fp32`)).pictures;

describe("pictures", () => {
  test("there are enough of every kind", () => {
    expect(PICTURES.length).toBeGreaterThanOrEqual(60);
    expect(PICTURES.filter((one) => !one.is_exact).length).toBeGreaterThanOrEqual(16);
  });

  test.each(PICTURES)("$file has Python's pixels, grid and tiles", async (known) => {
    const picture = await pixelsOf(known);
    expect([picture.width, picture.height]).toEqual([known.width, known.height]);
    expect(await sha256(over(picture, rules.background))).toBe(known.pixels);
    const { grid, tiles } = await cutTiles(picture, rules);
    expect(grid).toEqual(known.grid);
    expect(await Promise.all(tiles.map(sha256))).toEqual(known.tiles);
  });

  test("orientations are read from EXIF, and from XMP where it has none", () => {
    const found = (name: string) => orientationOf(bytesOf(`pictures/${name}`));
    for (const number of [2, 3, 4, 5, 6, 7, 8]) {
      expect(found(`turned${number}.jpg`)).toEqual({ value: number, source: "exif" });
    }
    expect(found("turned6.png")).toEqual({ value: 6, source: "exif" });
    expect(found("xmp.jpg")).toEqual({ value: 8, source: "xmp" });
    expect(found("wide.png")).toEqual({ value: 1, source: "none" });
  });

  test("the orientation of a WebP is read", () => {
    const exif = [..."MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0"].map((one) => one.charCodeAt(0));
    const size = (count: number) => [count & 255, count >> 8, 0, 0];
    const letters = (text: string) => [...text].map((one) => one.charCodeAt(0));
    const chunks = [...letters("VP8 "), ...size(3), 1, 2, 3, 0, ...letters("EXIF"), ...size(exif.length), ...exif];
    const file = Uint8Array.from([...letters("RIFF"), ...size(chunks.length + 4), ...letters("WEBP"), ...chunks]);
    expect(orientationOf(file)).toEqual({ value: 6, source: "exif" });
  });

  test("every orientation turns a picture as the standard says", () => {
    const numbers = [1, 2, 3, 4, 5, 6]; // 3 x 2
    const picture = ofRgba(3, 2, Uint8Array.from(numbers.flatMap((one) => [one, one, one, 255])));
    const shown = (orientation: number) => {
      const { width, rgb } = turned(picture, orientation);
      return [width, ...Array.from(rgb).filter((_, at) => at % 3 === 0)];
    };
    expect([1, 2, 3, 4, 5, 6, 7, 8].map(shown)).toEqual([
      [3, 1, 2, 3, 4, 5, 6],
      [3, 3, 2, 1, 6, 5, 4],
      [3, 6, 5, 4, 3, 2, 1],
      [3, 4, 5, 6, 1, 2, 3],
      [2, 1, 4, 2, 5, 3, 6],
      [2, 4, 1, 5, 2, 6, 3],
      [2, 6, 3, 5, 2, 4, 1],
      [2, 3, 6, 2, 5, 1, 4],
    ]);
  });

  test("raw pixels with opacity are laid over the background", () => {
    const pixels = Uint8Array.of(10, 20, 30, 0, 10, 20, 30, 255, 100, 100, 100, 51);
    expect([...over(ofRgba(3, 1, pixels), [255, 0, 100])]).toEqual([255, 0, 100, 10, 20, 30, 224, 20, 100]);
  });

  test("what is no picture is refused with a remedy", async () => {
    const whole = bytesOf("pictures/wide.png");
    const sources = [
      new Uint8Array(),
      new Blob(["no picture"]),
      whole.slice(0, whole.length / 2),
      whole.slice(0, 40).buffer,
      "a path" as unknown as Blob,
    ];
    for (const one of sources) {
      const error = await readPicture(one).then(
        () => undefined,
        (found) => found,
      );
      expect(error).toBeInstanceOf(PhantomError);
      expect(error).toMatchObject({ fault: "bad picture", remedy: expect.stringMatching(/./) });
      expect(error.problem).not.toContain("\n");
    }
    expect(() => ofRgba(2, 2, new Uint8Array(15))).toThrow(PhantomError);
    expect(() => ofRgba(0, 2, new Uint8Array())).toThrow(PhantomError);
    expect(() => ofRgba(1 << 20, 1 << 20, new Uint8Array())).toThrow(PhantomError);
  });

  test("damaged bytes end in a picture or a refusal", async () => {
    let state = 3;
    const below = (most: number) => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * most);
    };
    let refused = 0;
    for (const name of ["palette2.png", "interlaced.png", "alpha16.png", "turned6.png"]) {
      for (let round = 0; round < 40; round++) {
        const file = bytesOf(`pictures/${name}`);
        for (let change = 0; change <= below(4); change++) file[below(file.length)] = below(256);
        try {
          await decoded(file.slice(0, 1 + below(2 * file.length)));
        } catch (error) {
          expect(error).toBeInstanceOf(PhantomError);
          refused++;
        }
      }
    }
    expect(refused).toBeGreaterThan(20);
  });

  test("a picture of one colour keeps it", () => {
    const colour = [7, 100, 254];
    const rgb = Uint8Array.from({ length: 3 * 31 * 17 }, (_, at) => colour[at % 3]!);
    for (const [width, height] of [
      [224, 448],
      [5, 3],
      [31, 60],
    ] as const) {
      const found = resized(rgb, 31, 17, width, height);
      expect(found.length).toBe(3 * width * height);
      expect(found.every((value, at) => value === colour[at % 3])).toBe(true);
    }
  });

  test("a tile becomes numbers in three planes", () => {
    const tile = Uint8Array.of(0, 255, 128, 10, 20, 30);
    const found = normalized(tile, { ...rules, mean: [0, 0.5, 0].map(Math.fround), std: [1, 0.5, 2].map(Math.fround) });
    const wanted = [0, 10 / 255, 1, (20 / 255 - 0.5) / 0.5, 128 / 255 / 2, 30 / 255 / 2];
    for (const [at, one] of wanted.entries()) expect(found[at]).toBeCloseTo(one, 6);
  });
});
