import { describe, expect, test } from "vitest";
import { PhantomError } from "../src/lib/errors.js";
import { Prompts } from "../src/lib/text.js";
import { readTokenizer, Streamed, type Words } from "../src/lib/words.js";
import { type Asked, bytesOf, jsonOf, MADE } from "./conformance.js";
import { manifestOf } from "./manifests.js";

interface Stream {
  readonly ids: number[];
  readonly pieces: string[];
  readonly text: string;
}

interface Known {
  readonly ids: number[][];
  readonly decoded: string[];
  readonly streams: Stream[];
}

const { texts, tokenizers } = jsonOf<{ texts: string[]; tokenizers: Record<string, Known> }>("texts.json");
const { prompts, refused } = jsonOf<{
  prompts: (Asked & { tiles: number[]; prompt: string; ids: number[] })[];
  refused: Asked[];
}>("prompts.json");

function textOf(name: string): string {
  return new TextDecoder().decode(bytesOf(name));
}

/** A tokenizer with a token that stands alone: "picture", but not in "pictures". */
const ALONE = "gpt2";

function tokenizerOf(name: string): Words {
  const document = JSON.parse(textOf(`tokenizers/${name}.json`));
  if (name === ALONE) for (const token of document.added_tokens) token.single_word = false;
  return readTokenizer(JSON.stringify(document), name);
}

describe("texts", () => {
  test("there are enough", () => {
    expect(texts.length).toBeGreaterThanOrEqual(300);
    expect(Object.keys(tokenizers).length).toBeGreaterThanOrEqual(5);
  });

  test.each(Object.keys(tokenizers))("%s: texts become the same tokens, and these the same texts", (name) => {
    const words = tokenizerOf(name);
    const { ids, decoded } = tokenizers[name]!;
    const read = texts.filter((text) => name !== ALONE || !text.includes("picture"));
    expect(read.length).toBeGreaterThan(200);
    for (const text of read) {
      const number = texts.indexOf(text);
      const found = words.encode(text);
      expect(found, `${JSON.stringify(text)}`).toEqual(ids[number]);
      expect(words.decode(found), `${JSON.stringify(text)}`).toBe(decoded[number]);
    }
  });

  test.each(Object.keys(tokenizers))("%s: any tokens are streamed in the same pieces", (name) => {
    const words = tokenizerOf(name);
    for (const { ids, pieces, text } of tokenizers[name]!.streams) {
      const stream = new Streamed(words);
      const found = [...ids.map((id) => stream.add(id)), stream.rest()].filter((piece) => piece !== "");
      expect(found, `${ids}`).toEqual(pieces);
      expect(stream.text).toBe(text);
    }
  });

  test("a tokenizer whose tokens stand alone is refused: the package does not read them so", () => {
    const read = () => readTokenizer(textOf(`tokenizers/${ALONE}.json`), ALONE);
    expect(read).toThrow(/stands alone/);
  });

  test("what is no tokenizer is refused", () => {
    for (const text of ["", "{}", "[]", '{"model": 1}']) expect(() => readTokenizer(text, "x")).toThrow(PhantomError);
  });
});

describe("prompts", async () => {
  const folder = `${MADE}/bundles/fp32`;
  const manifest = await manifestOf(folder);
  const template = textOf(`bundles/fp32/${manifest.prompt.chatTemplate}`);
  const words = tokenizerOf("nano");
  const written = new Prompts(manifest, words, template);
  const rendered = new Prompts({ ...manifest, prompt: { ...manifest.prompt, turns: null } }, words, template);

  test("conversations become Python's prompts and ids, written out or rendered by Jinja", () => {
    expect(prompts.length).toBeGreaterThanOrEqual(60);
    expect(manifest.prompt.turns).not.toBeNull();
    for (const { messages, tiles, prompt, ids } of prompts) {
      for (const one of [written, rendered]) {
        const text = one.render(messages, tiles.length);
        expect(text).toBe(prompt);
        const tokens = tiles.map((count) => count * manifest.pictures.tokensPerTile);
        expect(one.ids(text, tokens)).toEqual(ids);
      }
    }
  });

  test("conversations that Python refuses are refused", () => {
    expect(refused.length).toBeGreaterThan(5);
    for (const { messages, pictures } of refused) {
      for (const one of [written, rendered]) {
        const ask = () =>
          one.ids(
            one.render(messages, pictures.length),
            pictures.map(() => manifest.pictures.tokensPerTile),
          );
        expect(ask).toThrow(PhantomError);
      }
    }
  });

  test("a conversation without words, or of an unknown role, is refused", () => {
    const user = { role: "user", content: " \n" } as const;
    expect(() => written.render([], 0)).toThrow("empty");
    expect(() => written.render([user], 0)).toThrow("empty");
    expect(() => written.render([{ role: "tool" as "user", content: "x" }], 0)).toThrow("role");
    expect(() => written.render([{ role: "user", content: null as unknown as string }], 0)).toThrow("content");
  });

  test("a template that is none is refused, and one that refuses a conversation says why", () => {
    const unwritten = { ...manifest, prompt: { ...manifest.prompt, turns: null } };
    expect(() => new Prompts(unwritten, words, "{% for x in %}")).toThrow("is no chat template");
    const strict = new Prompts(unwritten, words, "{{ raise_exception('only in May') }}");
    expect(() => strict.render([{ role: "user", content: "Why?" }], 0)).toThrow("only in May");
  });
});
