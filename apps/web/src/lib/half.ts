const single = new Float32Array(1);
const singleBits = new Uint32Array(single.buffer);

/** The bits of a number in float16, rounded to nearest, ties to even. */
export function halfOf(number: number): number {
  const size = Math.abs(number);
  const isSmall = size < 2 ** -14;
  single[0] = isSmall ? size + 0.5 : size; // the sum is rounded to steps of 2 ** -24
  const word = singleBits[0]!;
  const whole = isSmall ? word - 0x3f000000 : (word - 0x38000000 + 0xfff + ((word >> 13) & 1)) >> 13;
  const bits = Number.isNaN(number) ? 0x7e00 : Math.min(whole, 0x7c00);
  return bits | (number < 0 || Object.is(number, -0) ? 0x8000 : 0);
}

/** The number that bits of float16 stand for. */
export function numberOf(half: number): number {
  const exponent = (half >> 10) & 31;
  const digits = half & 1023;
  const sign = half & 0x8000 ? -1 : 1;
  if (exponent === 31) return digits === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (digits + (exponent ? 1024 : 0)) * 2 ** (Math.max(exponent, 1) - 25);
}

const NUMBERS = Float32Array.from({ length: 1 << 16 }, (_, half) => numberOf(half));

/** Numbers of float16 in float32. */
export function floatsOf(halves: Uint16Array): Float32Array {
  const found = new Float32Array(halves.length);
  for (let place = 0; place < found.length; place++) found[place] = NUMBERS[halves[place]!]!;
  return found;
}

/** Numbers in float16, as bits. */
export function halvesOf(numbers: Float32Array): Uint16Array {
  const found = new Uint16Array(numbers.length);
  for (let place = 0; place < found.length; place++) found[place] = halfOf(numbers[place]!);
  return found;
}
