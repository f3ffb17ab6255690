import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { describe, expect, test } from "vitest";
import type { Phantom } from "../src/lib/phantom.js";
import { type Answers, type Asked, jsonOf, MADE, type Noted, type WebForm } from "./conformance.js";
import { opened, openedForm } from "./opening.js";
import { pictureOf } from "./shown.js";

const { asked, answers } = jsonOf<Answers>("answers.json");

/** Asks, and notes what a Python session would note. */
async function noted(phantom: Phantom, one: Asked): Promise<Noted> {
  const shown = one.pictures.map(pictureOf);
  const answer = phantom.reply(one.messages, shown, { maxNewTokens: one.max_new_tokens });
  const pieces: string[] = [];
  for await (const piece of answer) pieces.push(piece.text);
  const { text, ids, promptTokens, reusedTokens, end } = answer.facts;
  return { text, ids, pieces, prompt_tokens: promptTokens, reused_tokens: reusedTokens, end };
}

describe("answers", () => {
  test.each(Object.keys(answers))("of %s are Python's, in one conversation after the other", async (form) => {
    const wanted = answers[form]!;
    expect(asked.length).toBeGreaterThanOrEqual(25);
    expect(wanted.filter((one) => one.reused_tokens > 49).length).toBeGreaterThan(asked.length / 4);
    const phantom = await openedForm(form);
    for (const [number, one] of asked.entries()) {
      expect(await noted(phantom, one), `${form}: ${JSON.stringify(one)}`).toEqual(wanted[number]);
    }
    phantom.close();
  });

  test("of target web's form for WebAssembly are Python's", async () => {
    const { asked, answers } = jsonOf<Record<string, WebForm>>("web.json")["web-wasm"]!;
    expect(asked.length).toBeGreaterThan(12);
    const phantom = await openedForm("web-wasm");
    for (const [number, one] of asked.entries()) {
      expect(await noted(phantom, one), JSON.stringify(one)).toEqual(answers[number]);
    }
    phantom.close();
  });

  test("follow the settings of a bundle as in Python", async () => {
    const { settings, asked: few } = jsonOf<{
      settings: { name: string; manifest: string; answers: Noted[] }[];
      asked: Asked[];
    }>("settings.json");
    expect(settings.length).toBeGreaterThanOrEqual(6);
    for (const { name, manifest, answers: wanted } of settings) {
      const folder = mkdtempSync(`${tmpdir()}/phantom-`);
      writeFileSync(`${folder}/phantom.json`, manifest);
      const phantom = await opened({ folders: [folder, `${MADE}/bundles/fp32`] });
      for (const [number, one] of few.entries()) {
        expect(await noted(phantom, one), `${name}: ${JSON.stringify(one)}`).toEqual(wanted[number]);
      }
      phantom.close();
      rmSync(folder, { recursive: true });
    }
  });
});
