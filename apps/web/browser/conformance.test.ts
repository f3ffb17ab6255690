import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { fileURLToPath } from "node:url";
import type { Browser, Page } from "playwright-core";
import { build } from "vite";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { EngineName } from "../src/lib/index.js";
import type { Pictures } from "../src/lib/manifest.js";
import {
  type Answers,
  type Asked,
  type Damage,
  jsonOf,
  type Known,
  MADE,
  PICTURES,
  type WebForm,
} from "../tests/conformance.js";
import { manifestOf } from "../tests/manifests.js";
import { complaints, launched, SOFTWARE_GPU } from "./chromium.js";
import type { Harness } from "./harness/harness.js";
import { type Origin, served } from "./origin.js";

type Window = { harness: Harness };

const { asked, answers } = jsonOf<Answers>("answers.json");
const forms = jsonOf<Record<string, WebForm>>("web.json");
const damages = jsonOf<Damage[]>("damaged.json");
const int4 = `${MADE}/bundles/int4`;
const root = fileURLToPath(new URL("./harness", import.meta.url));
const outDir = mkdtempSync(`${tmpdir()}/phantom-harness-`);

let origin: Origin;
let browser: Browser;
let page: Page;
let said: string[];

async function begin(flags?: readonly string[]): Promise<void> {
  browser = await launched(flags);
  page = await browser.newPage();
  said = complaints(page);
  await page.goto(origin.address);
  await page.waitForFunction(() => "harness" in window);
}

beforeAll(async () => {
  const options = { outDir, emptyOutDir: true, target: "es2023", assetsInlineLimit: 0 };
  await build({ root, base: "./", configFile: false, logLevel: "warn", worker: { format: "es" }, build: options });
  origin = await served([
    { path: "/", folders: [outDir] },
    { path: "/made/", folders: [MADE] },
    ...damages.map(({ folder, missing }, at) => ({
      path: `/damaged/${at}/`,
      folders: [`${MADE}/damaged/${folder}`, int4],
      missing,
    })),
  ]);
});

afterAll(async () => {
  await origin?.close();
  rmSync(outDir, { recursive: true });
});

const notes = (form: string, engine: EngineName, questions: readonly Asked[]) =>
  page.evaluate(([address, engine, asked]) => (window as unknown as Window).harness.notes(address, engine, asked), [
    `./made/bundles/${form}/`,
    engine,
    questions,
  ] as const);

const selfTest = (form: string, engine: EngineName) =>
  page.evaluate(([address, engine]) => (window as unknown as Window).harness.selfTest(address, engine), [
    `./made/bundles/${form}/`,
    engine,
  ] as const);

describe("in Chromium, with WebAssembly", () => {
  beforeAll(() => begin());
  afterAll(() => browser?.close());

  test("the page is isolated", async () => {
    expect(await page.evaluate(() => crossOriginIsolated)).toBe(true);
  });

  test("every picture has Python's pixels, grid and tiles", async () => {
    const rules = (await manifestOf(`${MADE}/bundles/fp32`)).pictures;
    const read = (known: Known, rules: Pictures) =>
      page.evaluate(([known, rules]) => (window as unknown as Window).harness.picture(known, rules), [
        known,
        rules,
      ] as const);
    expect(PICTURES.length).toBeGreaterThanOrEqual(60);
    for (const known of PICTURES) {
      const { size, grid, tiles, levels } = await read(known, rules);
      expect(size, known.file).toEqual([known.width, known.height]);
      expect(grid, known.file).toEqual(known.grid);
      expect(levels, known.file).toBeLessThanOrEqual(known.is_exact ? 0 : 2);
      if (levels === 0) expect(tiles, known.file).toEqual(known.tiles);
    }
  });

  test.each(Object.keys(answers))("answers of %s are Python's, the self-test passes", async (form) => {
    const found = await notes(form, "wasm", asked);
    expect(asked.length).toBeGreaterThanOrEqual(60);
    for (const [at, one] of found.entries())
      expect(one, `${form}: ${JSON.stringify(asked[at])}`).toEqual(answers[form]![at]);
    const { findings, wrong } = await selfTest(form, "wasm");
    expect(wrong).toEqual([]);
    expect(findings).toBeGreaterThan(30);
  });

  test("answers of the web form for WebAssembly are Python's", async () => {
    const { asked, answers } = forms["web-wasm"]!;
    expect(asked.length).toBeGreaterThan(20);
    const found = await notes("web-wasm", "wasm", asked);
    for (const [at, one] of found.entries()) expect(one, JSON.stringify(asked[at])).toEqual(answers[at]);
    expect((await selfTest("web-wasm", "wasm")).wrong).toEqual([]);
  });

  test("a hundred questions in a row leave the memory as it was", async () => {
    const { asked } = forms["web-wasm"]!;
    const [before, after] = await page.evaluate(
      (asked) => (window as unknown as Window).harness.memory("./made/bundles/web-wasm/", asked, 100),
      asked,
    );
    console.log(`${(before / 1e6).toFixed(1)} MB, after 100 questions ${((after - before) / 1e6).toFixed(1)} MB more`);
    expect(before).toBeGreaterThan(20e6); // the model is counted
    expect(after - before).toBeLessThan(8e6);
  });

  test("damaged bundles are refused", async () => {
    expect(damages.length).toBeGreaterThanOrEqual(30);
    for (const [at, { name, says }] of damages.entries()) {
      // What the storage holds of the whole bundle may not hide that a file is missing or damaged.
      await page.evaluate(() => (window as unknown as Window).harness.removeStored());
      const address = `./damaged/${at}/`;
      const found = await page.evaluate((one) => (window as unknown as Window).harness.refusal(one), address);
      expect(found, name).toMatchObject({ problem: expect.stringMatching(new RegExp(says)) });
      expect((found as { remedy: string }).remedy, name).not.toBe("");
    }
  });

  test("nothing else was said in the console", () => {
    expect(said.filter((one) => !one.includes("404"))).toEqual([]); // of files that damaged bundles lack
  });
});

describe("in Chromium, with WebGPU on the CPU", () => {
  beforeAll(() => begin(SOFTWARE_GPU));
  afterAll(() => browser?.close());

  test("an answer of the web form for WebGPU, its cache in buffers of the GPU, is Python's", async () => {
    const { asked, answers } = forms["web-webgpu"]!;
    expect(await notes("web-webgpu", "webgpu", asked.slice(0, 1))).toEqual(answers.slice(0, 1));
    expect(said).toEqual([]);
  });
});
