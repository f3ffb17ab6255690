const CUBIC_A = -0.5;
const SHIFT = 22;

/** Integer weights of the pixels from `first` on. */
interface Weights {
  readonly first: number;
  readonly integers: Int32Array;
}

function cubic(distance: number): number {
  const x = Math.abs(distance);
  if (x < 1) return ((CUBIC_A + 2) * x - (CUBIC_A + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * CUBIC_A : 0;
}

function weightsOf(from: number, to: number): Weights[] {
  const scale = from / to;
  const wide = Math.max(scale, 1);
  const support = 2 * wide;
  return Array.from({ length: to }, (_, place) => {
    const center = (place + 0.5) * scale;
    const first = Math.max(Math.trunc(center - support + 0.5), 0);
    const last = Math.min(Math.trunc(center + support + 0.5), from);
    const real = Float64Array.from({ length: last - first }, (_, k) => cubic((first + k - center + 0.5) * (1 / wide)));
    const sum = real.reduce((all, one) => all + one, 0);
    const whole = (one: number) => Math.trunc((one / sum) * 2 ** SHIFT + (one / sum < 0 ? -0.5 : 0.5));
    return { first, integers: Int32Array.from(real, whole) };
  });
}

/** Bytes between pixels of a line, and between lines. */
interface Layout {
  readonly step: number;
  readonly stride: number;
}

/** Pixels resampled along one axis, as Pillow's bicubic does it. */
function resampled(source: Uint8Array, from: number, to: number, lines: number, old: Layout, made: Layout): Uint8Array {
  const target = new Uint8Array(3 * lines * to);
  const half = 1 << (SHIFT - 1);
  const clipped = (sum: number) => Math.min(Math.max(sum >> SHIFT, 0), 255);
  for (const [place, { first, integers }] of weightsOf(from, to).entries()) {
    for (let line = 0; line < lines; line++) {
      let at = line * old.stride + first * old.step;
      let [red, green, blue] = [half, half, half];
      for (let k = 0; k < integers.length; k++) {
        const weight = integers[k]!;
        red += weight * source[at]!;
        green += weight * source[at + 1]!;
        blue += weight * source[at + 2]!;
        at += old.step;
      }
      const end = line * made.stride + place * made.step;
      target[end] = clipped(red);
      target[end + 1] = clipped(green);
      target[end + 2] = clipped(blue);
    }
  }
  return target;
}

/** Pixels (R, G, B for each, row by row) in another size: the horizontal pass first, rounded to 8 bits. */
export function resized(
  rgb: Uint8Array,
  width: number,
  height: number,
  newWidth: number,
  newHeight: number,
): Uint8Array {
  const row = { step: 3, stride: 3 * newWidth };
  const across =
    width === newWidth ? rgb : resampled(rgb, width, newWidth, height, { step: 3, stride: 3 * width }, row);
  if (height === newHeight) return across;
  const column = { step: 3 * newWidth, stride: 3 };
  return resampled(across, height, newHeight, newWidth, column, column);
}
