// Tiles of a picture: the rules stand in `pictures` of phantom.json.

/** For each of `to` pixels: the first of its `from` pixels, and their integer weights. */
function weightsOf(from, to, { cubic_a: a, fractional_bits: bits }) {
  const scale = from / to, stretch = Math.max(scale, 1), support = 2 * stretch;
  const cubic = (x) => (x < 1 ? ((a + 2) * x - (a + 3)) * x * x + 1 : x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0);
  return Array.from({ length: to }, (_, i) => {
    const center = (i + 0.5) * scale;
    const first = Math.max(Math.trunc(center - support + 0.5), 0);
    const end = Math.min(Math.trunc(center + support + 0.5), from);
    const at = (j) => Math.abs((first + j - center + 0.5) * (1 / stretch));
    const real = Array.from({ length: end - first }, (_, j) => cubic(at(j)));
    const sum = real.reduce((total, one) => total + one, 0);
    return [first, real.map((one) => Math.trunc((one / sum) * 2 ** bits + Math.sign(one) * 0.5))];
  });
}

/** Pixels resampled along one axis; steps and strides are bytes between pixels of a line, and between lines. */
function resampled(source, from, to, lines, step, stride, newStep, newStride, rules) {
  if (from === to) return source;
  const target = new Uint8Array(3 * lines * to), shift = rules.fractional_bits;
  weightsOf(from, to, rules).forEach(([first, weights], i) => {
    for (let line = 0; line < lines; line++)
      for (let channel = 0; channel < 3; channel++) {
        let sum = 1 << (shift - 1);
        weights.forEach((weight, j) => (sum += weight * source[line * stride + (first + j) * step + channel]));
        target[line * newStride + i * newStep + channel] = Math.min(Math.max(sum >> shift, 0), 255);
      }
  });
  return target;
}

function resized({ width, height, data }, wide, high, rules) {
  const across = resampled(data, width, wide, height, 3, 3 * width, 3, 3 * wide, rules);
  return resampled(across, height, high, wide, 3 * wide, 3, 3 * wide, 3, rules);
}

/** Normalized tiles, Float32Array (3, side, side): the grid's, row by row, and the thumbnail. */
export function tilesOf(picture, rules) {
  const { width, height } = picture, side = rules.tile_size;
  let nearest = Infinity, grid = [1, 1];
  for (const [wide, high] of rules.grids) {
    const distance = Math.abs(width / height - wide / high);
    const isLarger = width * height > rules.tie_area * side ** 2 * wide * high;
    if (distance < nearest || (distance === nearest && isLarger)) [nearest, grid] = [distance, [wide, high]];
  }
  const [wide, high] = grid, round = Math.fround;
  const normal = (value, c) => round(round(round(value / 255) - round(rules.mean[c])) / round(rules.std[c]));
  const table = [0, 1, 2].map((c) => Float32Array.from({ length: 256 }, (_, value) => normal(value, c)));
  const cut = (pixels, across, left, top) =>
    Float32Array.from({ length: 3 * side * side }, (_, i) => {
      const channel = Math.floor(i / side ** 2), y = Math.floor(i / side) % side, x = i % side;
      return table[channel][pixels[3 * ((top + y) * across + left + x) + channel]];
    });
  const whole = resized(picture, wide * side, high * side, rules.resizing);
  const tileOf = (_, i) => cut(whole, wide * side, (i % wide) * side, Math.floor(i / wide) * side);
  const tiles = Array.from({ length: wide * high }, tileOf);
  if (rules.thumbnail && tiles.length > 1) tiles.push(cut(resized(picture, side, side, rules.resizing), side, 0, 0));
  return tiles;
}
