import type { Grid, Pictures } from "./manifest.js";
import { badPicture, over, type Pixels } from "./pixels.js";
import { resized } from "./resize.js";
import { sha256 } from "./sha256.js";

const MOST_BYTES_BETWEEN_PASSES = 3 << 26;

/** Tiles of a picture: R, G, B of each pixel, row by row. `digest` is that of all of them. */
export interface Tiles {
  readonly grid: Grid;
  readonly tiles: readonly Uint8Array[];
  readonly digest: string;
}

/** The grid of a picture: the nearest ratio, of equally near ones a larger one where the picture fills half of it. */
export function chooseGrid(width: number, height: number, rules: Pictures): Grid {
  let best: Grid = [1, 1];
  let nearest = Number.POSITIVE_INFINITY;
  for (const grid of rules.grids) {
    const [columns, rows] = grid;
    const distance = Math.abs(width / height - columns / rows);
    const area = rules.tieArea * rules.tileSize * rules.tileSize * columns * rows;
    if (distance < nearest || (distance === nearest && width * height > area)) {
      nearest = distance;
      best = grid;
    }
  }
  return best;
}

/** Cuts a picture into tiles, by the rules of a manifest. */
export async function cutTiles(picture: Pixels, rules: Pictures): Promise<Tiles> {
  const { width, height } = picture;
  const side = rules.tileSize;
  const grid = chooseGrid(width, height, rules);
  const [columns, rows] = grid;
  const wide = columns * side;
  if (3 * wide * height > MOST_BYTES_BETWEEN_PASSES) {
    throw badPicture(`a picture of ${width} x ${height} is too tall to tile`, "crop it or make it smaller first");
  }
  const pixels = over(picture, rules.background);
  const whole = resized(pixels, width, height, wide, rows * side);
  const tiles: Uint8Array[] = [];
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const tile = new Uint8Array(3 * side * side);
      for (let line = 0; line < side; line++) {
        const from = 3 * ((row * side + line) * wide + column * side);
        tile.set(whole.subarray(from, from + 3 * side), 3 * line * side);
      }
      tiles.push(tile);
    }
  }
  if (rules.hasThumbnail && tiles.length > 1) tiles.push(resized(pixels, width, height, side, side));
  const all = new Uint8Array(tiles.length * 3 * side * side);
  for (const [number, tile] of tiles.entries()) all.set(tile, number * tile.length);
  return { grid, tiles, digest: await sha256(all) };
}

/** A tile as numbers (3, rows, columns): value / 255, minus mean, by std, each step in float32. */
export function normalized(tile: Uint8Array, rules: Pictures): Float32Array {
  const round = Math.fround;
  const area = tile.length / 3;
  const found = new Float32Array(tile.length);
  for (let channel = 0; channel < 3; channel++) {
    const [mean, std] = [rules.mean[channel]!, rules.std[channel]!];
    const table = Float32Array.from({ length: 256 }, (_, value) => round(round(value / 255) - mean) / std);
    for (let pixel = 0; pixel < area; pixel++) found[channel * area + pixel] = table[tile[3 * pixel + channel]!]!;
  }
  return found;
}
