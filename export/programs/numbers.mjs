// Numbers of a bundle: float16, which not every JavaScript has, and rows of the table of embeddings.

/** Arrays by number format; float16 as its bits. */
export const ARRAYS = { float32: Float32Array, float16: Uint16Array, int8: Int8Array };

const single = new Float32Array(1), singleBits = new Uint32Array(single.buffer);

/** The bits of a number in float16, rounded to nearest, ties to even. */
function halfOf(number) {
  const size = Math.abs(number), isSmall = size < 2 ** -14;
  single[0] = isSmall ? size + 0.5 : size; // the sum is rounded to steps of 2 ** -24
  const word = singleBits[0];
  const rounded = isSmall ? word - 0x3f000000 : (word - 0x38000000 + 0xfff + ((word >> 13) & 1)) >> 13;
  return Math.min(rounded, 0x7c00) | (number < 0 ? 0x8000 : 0);
}

/** The number that bits of float16 stand for. */
function numberOf(half) {
  const exponent = (half >> 10) & 31, digits = (half & 1023) + (exponent ? 1024 : 0);
  const size = exponent === 31 ? NaN : digits * 2 ** (Math.max(exponent, 1) - 25);
  return half & 0x8000 ? -size : size;
}

/** A tensor's numbers as they are stored: float16 as bits, also where JavaScript has such arrays. */
export const stored = ({ type, data }) =>
  type === "float16" ? new Uint16Array(data.buffer, data.byteOffset, data.length) : data;

/** A tensor's numbers as numbers. */
export const numbersOf = (tensor) =>
  tensor.type === "float16" ? Float32Array.from(stored(tensor), numberOf) : tensor.data;

/** Numbers in a number format, to be stored. */
export const inFormat = (dtype, numbers) => (dtype === "float16" ? Uint16Array.from(numbers, halfOf) : numbers);

/** A row of the table of embeddings in float32; `read(offset, size)` returns bytes of the table's file. */
export function rowOf(id, read, table) {
  const { width, rounded } = table, dtype = rounded ? rounded.scale_dtype : table.dtype;
  const array = (Type, offset, count) => {
    const size = count * Type.BYTES_PER_ELEMENT;
    return new Type(Uint8Array.from(read(offset + id * size, size)).buffer);
  };
  const numbers = (offset, count) => numbersOf({ type: dtype, data: array(ARRAYS[dtype], offset, count) });
  if (!rounded) return numbers(table.offset, width);
  const { bits, block } = rounded, blocks = Math.ceil(width / block);
  const integer = (bytes, i) => (bits === 8 ? bytes[i] : (bytes[i >> 1] >> (4 * (i & 1))) & 15); // the low half first
  const integers = array(Uint8Array, table.offset, (blocks * block * bits) / 8);
  const scales = numbers(rounded.scales, blocks), points = rounded.zero_points;
  const zeros = points === null ? null : array(Uint8Array, points, Math.ceil((blocks * bits) / 8));
  return Float32Array.from({ length: width }, (_, i) => {
    const place = Math.floor(i / block);
    return (integer(integers, i) - (zeros ? integer(zeros, place) : rounded.zero_offset)) * scales[place];
  });
}
