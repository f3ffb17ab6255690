import { describe, expect, test } from "vitest";
import { PhantomError } from "../src/lib/errors.js";
import type { Progress } from "../src/lib/opened.js";
import type { State } from "../src/lib/session.js";
import { MADE } from "./conformance.js";
import { connected, opened, openedForm } from "./opening.js";
import { served } from "./server.js";
import { pictureOf } from "./shown.js";

const QUESTION = "Describe the picture briefly.";

async function piecesOf(answer: AsyncIterable<{ text: string }>, most = Number.POSITIVE_INFINITY): Promise<string[]> {
  const found: string[] = [];
  for await (const { text } of answer) {
    found.push(text);
    if (found.length === most) break;
  }
  return found;
}

describe("an open bundle", () => {
  test("says what it is and what it does", async () => {
    const progress: Progress[] = [];
    const states: State[] = [];
    const phantom = await openedForm("fp32", {
      onProgress: (one) => progress.push(one),
      onState: (one) => states.push(one),
    });
    expect(phantom.about).toMatchObject({ imageMark: "<image>", maxContext: 2048, engine: "wasm", whyNoWebGpu: null });
    const bytes = progress.filter((one) => one.stage === "download");
    expect(bytes.at(-1)!.done).toBe(bytes.at(-1)!.all);
    expect(progress.at(-1)).toEqual({ stage: "load", done: 1, all: 1 });
    const answer = phantom.ask(QUESTION, [pictureOf("tall.png")], { maxNewTokens: 4 });
    await answer.whole();
    expect(new Set(states.map((one) => one.doing))).toEqual(new Set(["seeing", "reading", "answering", "nothing"]));
    expect(states.at(-1)).toEqual({ doing: "nothing" });
    expect(answer.secondsToFirstToken).toBeGreaterThan(0);
    expect(answer.tokensPerSecond).toBeGreaterThan(0);
    phantom.close();
  });

  test("stops within one token, by a signal or by leaving the loop, and does not read the prompt again", async () => {
    const phantom = await openedForm("fp32");
    const picture = pictureOf("wide.png");
    const whole = phantom.ask(QUESTION, [picture]);
    const all = await piecesOf(whole);
    expect(all.length).toBeGreaterThan(6);

    const left = phantom.ask(QUESTION, [picture]);
    expect(await piecesOf(left, 3)).toEqual(all.slice(0, 3));
    expect(left.facts.end).toBe("interrupted");

    const controller = new AbortController();
    const cut = phantom.ask(QUESTION, [picture], { signal: controller.signal });
    const few: string[] = [];
    const reading = (async () => {
      for await (const { text } of cut) {
        few.push(text);
        if (few.length === 3) controller.abort(new Error("enough"));
      }
    })();
    await expect(reading).rejects.toThrow("enough");
    expect(few).toEqual(all.slice(0, few.length));
    expect(few.length).toBeLessThanOrEqual(4); // one more may have been under way
    expect(cut.facts.ids.length).toBeLessThanOrEqual(4);

    const again = phantom.ask(QUESTION, [picture]);
    expect(await piecesOf(again)).toEqual(all);
    expect(again.facts.reusedTokens).toBe(again.facts.promptTokens - 1);
    phantom.close();
  });

  test("an aborted signal asks nothing, and opens nothing", async () => {
    const phantom = await openedForm("int4");
    const signal = AbortSignal.abort(new Error("too late"));
    await expect(phantom.ask("Why?", [], { signal }).whole()).rejects.toThrow("too late");
    phantom.close();
    await expect(openedForm("int4", { signal })).rejects.toThrow("too late");
  });

  test("opening can be stopped in the middle of the download", async () => {
    const controller = new AbortController();
    const onProgress = ({ done }: Progress) => done > 0 && controller.abort(new Error("no more"));
    await expect(openedForm("fp32", { signal: controller.signal, onProgress })).rejects.toThrow("no more");
  });

  test("answers questions one after the other, as they were asked", async () => {
    const phantom = await openedForm("int4");
    const texts = await Promise.all(
      [0, 1, 0, 1].map((scene) => phantom.ask(QUESTION, [pictureOf(`scene${scene}.png`)]).whole()),
    );
    expect(texts[0]).toBe(texts[2]);
    expect(texts[1]).toBe(texts[3]);
    expect(texts[0]).not.toBe("");
    phantom.close();
  });

  test("goes on with a conversation, whose prefix is not read again", async () => {
    const phantom = await openedForm("int8");
    const two = [pictureOf("scene0.png"), pictureOf("wide.png")];
    const first = phantom.ask("Describe both pictures.", two);
    await first.whole();
    const second = phantom.reply(
      [
        { role: "user", content: "<image><image>Describe both pictures." },
        { role: "assistant", content: first.text },
        { role: "user", content: "Which one is larger?" },
      ],
      two,
    );
    await second.whole();
    expect(second.facts.reusedTokens).toBeGreaterThanOrEqual(first.facts.promptTokens);
    await phantom.forget();
    const third = phantom.ask("Describe both pictures.", two);
    await third.whole();
    expect(third.facts.reusedTokens).toBe(0);
    expect(third.text).toBe(first.text);
    phantom.close();
  });

  test("draws likely tokens, the same for the same seed", async () => {
    const phantom = await openedForm("int8");
    const draw = (settings: object) => phantom.ask("Why?", [], { maxNewTokens: 24, ...settings }).whole();
    expect(await draw({ temperature: 1.5, seed: 5 })).toBe(await draw({ temperature: 1.5, seed: 5 }));
    const texts = new Set<string>();
    for (let seed = 0; seed < 6; seed++) texts.add(await draw({ temperature: 1.5, seed }));
    expect(texts.size).toBeGreaterThan(1);
    const greedy = await draw({});
    expect(await draw({ temperature: 1, topK: 1 })).toBe(greedy);
    expect(await draw({ temperature: 1, topP: 1e-9 })).toBe(greedy);
    phantom.close();
  });

  test("ends with errors of its own class, and goes on after them", async () => {
    const phantom = await openedForm("int4");
    for (const settings of [{ maxNewTokens: 0 }, { temperature: -1 }, { topP: 0 }, { topK: 0.5 }, { seed: -1 }]) {
      expect(() => phantom.ask("Why?", [], settings)).toThrow(PhantomError);
    }
    const wrong = phantom.ask("Why?", [new Blob(["no picture"])]);
    const error = await wrong.whole().catch((found) => found);
    expect(error).toBeInstanceOf(PhantomError);
    expect(error).toMatchObject({ fault: "bad picture", remedy: expect.stringMatching(/./) });
    const element = (() => undefined) as unknown as Blob; // as little a message as an <img>
    await expect(phantom.ask("Why?", [element]).whole()).rejects.toMatchObject({ fault: "bad picture" });
    await expect(phantom.ask("What is <img>?").whole()).rejects.toMatchObject({ fault: "bad question" });
    expect(await phantom.ask("What is 3 + 4?").whole()).not.toBe("");
    phantom.close();
  });

  test("closed in the middle of an answer, ends it with an error", async () => {
    const phantom = await openedForm("int4");
    const reading = (async () => {
      for await (const _ of phantom.ask("What is 3 + 4, and why?", [], { maxNewTokens: 200 })) phantom.close();
    })();
    await expect(reading).rejects.toMatchObject({ fault: "closed" });
    await expect(phantom.ask("Why?").whole()).rejects.toMatchObject({ fault: "closed" });
    await expect(phantom.selfTest()).rejects.toMatchObject({ fault: "closed" });
    phantom.close();
  });

  test("a bundle that is read from a server that is gone is said so", async () => {
    await expect(connected("http://127.0.0.1:9/")).rejects.toMatchObject({ fault: "no connection" });
  });
});

describe("a self-test", () => {
  test.each(["fp32", "fp16", "int8", "int4"])("of %s passes", async (form) => {
    const server = await served({ folders: [`${MADE}/bundles/${form}`] });
    const phantom = await connected(server.address);
    const report = await phantom.selfTest();
    expect(report.findings.filter((one) => !one.passed)).toEqual([]);
    expect(report.passed).toBe(true);
    expect(report.findings.length).toBeGreaterThan(30);
    phantom.close();
    await server.close();
  });

  test("without golden files that can be read is an error", async () => {
    const server = await served({ folders: [`${MADE}/bundles/int4`], missing: ["golden/golden.json"] });
    const phantom = await connected(server.address);
    await expect(phantom.selfTest()).rejects.toMatchObject({ fault: "damaged bundle" });
    phantom.close();
    await server.close();
  });
});

const QUESTIONS = Number(process.env.PHANTOM_QUESTIONS ?? 100);

test("questions in a row leave the memory as it was", async () => {
  const phantom = await opened({ folders: [`${MADE}/bundles/int4`] });
  const names = Array.from({ length: 8 }, (_, scene) => `scene${scene}.png`);
  const ask = async (number: number) => {
    const shown = [pictureOf(names[number % names.length]!)];
    await phantom.ask(`What is it, number ${number}?`, shown, { maxNewTokens: 4 }).whole();
  };
  for (const number of names.keys()) await ask(number);
  for (let number = 0; number < 4; number++) await ask(number);
  const before = process.memoryUsage().rss;
  for (let number = 0; number < QUESTIONS; number++) await ask(number);
  const grown = process.memoryUsage().rss - before;
  console.log(`${QUESTIONS} questions: ${Math.round(grown / 1024)} kB more`);
  expect(grown).toBeLessThan(100_000_000);
  phantom.close();
});
