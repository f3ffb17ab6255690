import { describe, expect, test } from "vitest";
import { Choice } from "../src/lib/choice.js";
import { PhantomError } from "../src/lib/errors.js";
import { floatsOf, halfOf, numberOf } from "../src/lib/half.js";
import { Node, Numeral, parseJson, WrongJson } from "../src/lib/json.js";
import type { Embedding, Generation } from "../src/lib/manifest.js";
import { Rows } from "../src/lib/rows.js";
import { completed } from "../src/lib/settings.js";
import { Hasher, sha256 } from "../src/lib/sha256.js";

describe("float16", () => {
  test("every number survives", () => {
    for (let bits = 0; bits < 1 << 16; bits++) {
      const number = numberOf(bits);
      const again = halfOf(number);
      expect(Number.isNaN(number) ? Number.isNaN(numberOf(again)) : again === bits, `${bits}`).toBe(true);
    }
  });

  test("numbers become the nearest, ties the even one", () => {
    const all = floatsOf(Uint16Array.from({ length: 0x7c00 }, (_, bits) => bits));
    const wrong: number[] = [];
    for (let place = 1; place < 0x7bff; place++) {
      const [low, high] = [all[place]!, all[place + 1]!];
      const middle = (low + high) / 2;
      const step = (high - low) / 1024;
      if (numberOf(halfOf(middle)) !== (place % 2 === 0 ? low : high)) wrong.push(middle);
      if (numberOf(halfOf(middle - step)) !== low || numberOf(halfOf(-middle - step)) !== -high) wrong.push(-middle);
    }
    expect(wrong).toEqual([]);
    expect(numberOf(halfOf(65519.996))).toBe(65504);
    expect(numberOf(halfOf(65520))).toBe(Number.POSITIVE_INFINITY);
    expect(numberOf(halfOf(2.9e-8))).toBe(0);
  });
});

describe("JSON", () => {
  test("keeps the spelling of numbers", () => {
    const found = parseJson('{"a": [1, -2.5e3, "x\\u00e9 1.0", true, null, {}], "b": 12345678901234567890}');
    expect(found).toEqual({
      a: [new Numeral("1"), new Numeral("-2.5e3"), "xé 1.0", true, null, {}],
      b: new Numeral("12345678901234567890"),
    });
  });

  test.each([
    "",
    "{",
    "[1,]",
    '{"a" 1}',
    "01",
    "1.",
    "+1",
    "NaN",
    "Infinity",
    "'a'",
    "[1] 2",
    "{a: 1}",
    '"\n"',
    '"\\x"',
  ])("refuses %s", (text) => {
    expect(() => parseJson(text)).toThrow(WrongJson);
  });

  test("names the place of what is wrong", () => {
    const node = new Node("", parseJson('{"a": {"b": [1, 2.0, 9007199254740993, "x", 1e999]}}'));
    const inner = node.entries().get("a")!.entries().get("b")!.list();
    expect(inner[0]!.int()).toBe(1);
    expect(() => inner[1]!.int()).toThrow("a.b[1] is 2.0, not integer");
    expect(() => inner[2]!.int()).toThrow("a.b[2] is larger than 53 bits hold");
    expect(() => inner[3]!.number()).toThrow("a.b[3] is x, not number");
    expect(() => inner[4]!.number()).toThrow("a.b[4] is 1e999, not number");
    expect(() => node.fields((fields) => fields.get("c"))).toThrow("c is missing");
    expect(() => node.fields(() => 0)).toThrow("a is not known");
  });
});

describe("a choice", () => {
  const plain: Generation = {
    repetitionPenalty: 1,
    noRepeatNgram: 0,
    minLength: 0,
    minNewTokens: 0,
    suppressTokens: [],
    beginSuppressTokens: [],
  };

  test("takes the largest logit, of equals the lowest id", () => {
    const choice = new Choice(plain, [1], 1, completed());
    expect(choice.choose([0], Float32Array.of(1, 2, 2, 0))).toBe(1);
  });

  test("refuses logits that are no numbers, and settings that leave no token", () => {
    const choice = new Choice(plain, [1], 1, completed());
    for (const number of [Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(() => choice.choose([0], Float32Array.of(0, number))).toThrow("not finite");
    }
    const none = new Choice({ ...plain, suppressTokens: [0, 1] }, [1], 1, completed());
    expect(() => none.choose([0], new Float32Array(2))).toThrow(PhantomError);
  });
});

describe("rows of embeddings", () => {
  const table = { file: "x", rows: 2, width: 3, dtype: "float32", offset: 4 } as const;

  test("are read from floats of both sizes", () => {
    const floats = new Uint8Array(Float32Array.of(9, 1, 2, 3, 4, 5, 6).buffer);
    expect([...new Rows({ ...table, rounded: null }, floats).read([1, 0])]).toEqual([4, 5, 6, 1, 2, 3]);
    const halves = new Uint8Array(Uint16Array.of(0, 0, ...[1, 2, 3, 4, 5, 6].map(halfOf)).buffer);
    const half: Embedding = { ...table, dtype: "float16", rounded: null };
    expect([...new Rows(half, halves).read([1])]).toEqual([4, 5, 6]);
  });

  test("are computed from integers of 4 bits, the low half of a byte first", () => {
    const bytes = new Uint8Array(40);
    bytes[4 + 8] = 0x21; // row 1: 1, 2, 3
    bytes[4 + 9] = 0x03;
    new Float32Array(bytes.buffer, 24, 2).set([1, 0.5]);
    bytes[33] = 0x04; // zero point of row 1
    const rounded = { bits: 4, block: 16, scales: 24, zeroPoints: 32, zeroOffset: 8 };
    expect([...new Rows({ ...table, rounded }, bytes).read([1])]).toEqual([-1.5, -1, -0.5]);
    const middle = { ...rounded, zeroPoints: null };
    expect([...new Rows({ ...table, rounded: middle }, bytes).read([1])]).toEqual([-3.5, -3, -2.5]);
  });
});

test("SHA-256 of pieces is that of the whole", async () => {
  const bytes = Uint8Array.from({ length: 70_001 }, (_, at) => at * 31);
  const hasher = await Hasher.create();
  for (let at = 0; at < bytes.length; at += 1000) hasher.update(bytes.subarray(at, at + 1000));
  expect(hasher.digest()).toBe(await sha256(bytes));
});
