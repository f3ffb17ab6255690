import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { describe, expect, test } from "vitest";
import { PhantomError } from "../src/lib/errors.js";
import { readManifest } from "../src/lib/manifest-reader.js";
import type { Options } from "../src/lib/phantom.js";
import { checkedAddress } from "../src/lib/store.js";
import { bytesOf, type Damage, jsonOf, MADE } from "./conformance.js";
import { type Document, resealed } from "./manifests.js";
import { opened, openedForm } from "./opening.js";
import type { Serving } from "./server.js";

const INT4 = `${MADE}/bundles/int4`;

async function refusal(serving: Serving, options: Options = {}): Promise<PhantomError> {
  const error = await opened(serving, options).then(
    (phantom) => phantom.close(),
    (found) => found,
  );
  expect(error, "it was opened").toBeInstanceOf(PhantomError);
  expect(error.problem).not.toContain("\n");
  expect(error.remedy).not.toBe("");
  return error;
}

/** A folder with another manifest, to be laid over a bundle. */
function laidOver(manifest: Uint8Array): Serving {
  const folder = mkdtempSync(`${tmpdir()}/phantom-`);
  writeFileSync(`${folder}/phantom.json`, manifest);
  return { folders: [folder, INT4] };
}

describe("bundles", () => {
  const damages = jsonOf<Damage[]>("damaged.json");

  test("there are enough damaged ones", () => expect(damages.length).toBeGreaterThanOrEqual(30));

  test.each(damages)("damaged: $name", async ({ folder, missing, says }) => {
    const error = await refusal({ folders: [`${MADE}/damaged/${folder}`, INT4], missing });
    expect(error.problem).toMatch(new RegExp(says));
  });

  test("a manifest with any byte changed is refused", async () => {
    const whole = bytesOf("bundles/int4/phantom.json");
    let state = 8;
    const below = (most: number) => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * most);
    };
    for (let round = 0; round < 200; round++) {
      const [place, byte] = [below(whole.length), below(256)];
      if (whole[place] === byte) continue;
      const changed = whole.slice();
      changed[place] = byte;
      await expect(readManifest(changed, ""), `byte ${place} is ${byte}`).rejects.toBeInstanceOf(PhantomError);
    }
  });

  const names = ["../x", "a/../b", "/etc/passwd", "a//b", ".hidden", "a\\b", "C:x", "a?b", "a#b", "%2e%2e/x", "a/", ""];

  test.each([...names, "phantom.json", "proof.json"])("no file is called '%s'", async (name) => {
    const add = (document: Document) => {
      document.files[name] = document.files["decoder.data"];
    };
    await expect(readManifest(resealed(INT4, add), "")).rejects.toThrow(/no plain file name|cannot be listed/);
  });

  test("of other targets and layouts is said where to go", async () => {
    const plain = await refusal(laidOver(resealed(INT4, (document) => (document.target = "qnn"))));
    expect(plain).toMatchObject({ fault: "unsupported", remedy: expect.stringContaining("--target web") });
  });

  test("forms of target web are read: the graphs, the table and the files of an engine", async () => {
    const form = (document: Document, files: string[]) => {
      document.target = "web";
      document.facts = {
        engines: { wasm: { vision: "vision", decoder: "decoder", embedding: document.embedding, files } },
      };
    };
    const all = ["vision.onnx", "vision.data", "decoder.onnx", "decoder.data", "first_token.data"];
    const manifest = await readManifest(
      resealed(INT4, (document) => form(document, all)),
      "",
    );
    expect([...manifest.forms.keys()]).toEqual(["wasm"]);
    expect(manifest.forms.get("wasm")!.decoder.file).toBe("decoder.onnx");
    const wrong: [RegExp, (document: Document) => void][] = [
      [/files is impossible/, (document) => form(document, all.slice(1))],
      [/not known/, (document) => (document.facts.engines.cuda = document.facts.engines.wasm)],
      [/not in parts/, (document) => (document.facts.engines.wasm.decoder = "decoder_wasm")],
      [/impossible/, (document) => (document.facts.engines = {})],
      [/facts is no object/, (document) => (document.facts = [])],
    ];
    for (const [says, change] of wrong) {
      const made = resealed(INT4, (document) => {
        form(document, all);
        change(document);
      });
      await expect(readManifest(made, "")).rejects.toThrow(says);
    }
    const serving = laidOver(resealed(INT4, (document) => form(document, all)));
    const phantom = await opened(serving);
    expect(phantom.about.engine).toBe("wasm");
    phantom.close();
    expect(await refusal(serving, { engine: "webgpu" })).toMatchObject({ fault: "unsupported" });
  });

  test("that cannot fit are refused before a file is read", async () => {
    const phantom = await openedForm("int4");
    const { leastMemory } = phantom.about;
    phantom.close();
    expect(leastMemory).toBeGreaterThan(50_000_000);
    const serving = { folders: [INT4], missing: ["decoder.data"] };
    const error = await refusal(serving, { memoryLimit: leastMemory - 1 });
    expect(error).toMatchObject({ fault: "too large", problem: expect.stringContaining("MB") });
    expect(await refusal(serving, { memoryLimit: leastMemory })).toMatchObject({ fault: "damaged bundle" });
  });

  test("with an engine that is not there are refused, and the best one is chosen with the reason", async () => {
    expect(await refusal({ folders: [INT4] }, { engine: "webgpu" })).toMatchObject({
      fault: "unsupported",
      problem: expect.stringContaining("WebGPU"),
    });
    const phantom = await openedForm("int4", { engine: "best" });
    expect(phantom.about).toMatchObject({ engine: "wasm", whyNoWebGpu: expect.stringMatching(/./), threads: 1 });
    phantom.close();
  });

  test("impossible options are refused", async () => {
    expect(await refusal({ folders: [INT4] }, { threads: 0 })).toMatchObject({ fault: "bad question" });
    expect(await refusal({ folders: [INT4] }, { threads: 2 })).toMatchObject({ fault: "unsupported" });
    expect(await refusal({ folders: [INT4] }, { storage: "origin" })).toMatchObject({ fault: "unsupported" });
  });

  test("addresses are made whole, and others than http are refused", () => {
    const base = "https://a.example/app/index.html?x#y";
    expect(checkedAddress("./nano", base)).toBe("https://a.example/app/nano/");
    expect(checkedAddress("/nano/?v=1#z", base)).toBe("https://a.example/nano/");
    expect(checkedAddress(new URL("http://b.example/"), base)).toBe("http://b.example/");
    const wrong = ["file:///tmp/nano", "data:,x", "blob:https://a.example/1", "javascript:1", "https://u:p@a.example/"];
    for (const address of wrong) expect(() => checkedAddress(address, base)).toThrow(PhantomError);
    expect(() => checkedAddress("./nano", "")).toThrow(PhantomError);
  });
});
