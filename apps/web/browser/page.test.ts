import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { complaints, launched } from "./chromium.js";
import { KNOWN, Server } from "./demo.js";

const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
const SHOTS = process.env.PHANTOM_SHOTS;
const WIDE = { width: 1440, height: 900 };
const NARROW = { width: 390, height: 844 };
const LOOKS = [
  [NARROW, "light"],
  [NARROW, "dark"],
  [WIDE, "light"],
  [WIDE, "dark"],
] as const;
const PATIENCE = { timeout: 180_000 };

let browser: Browser;
let context: BrowserContext;
let page: Page;
let server: Server;
let said: string[];

beforeAll(async () => {
  server = await Server.start("PHANTOM_DEMO", "--port", "0");
  browser = await launched();
  context = await browser.newContext({ viewport: WIDE, permissions: ["camera"] });
  page = await context.newPage();
  page.setDefaultTimeout(PATIENCE.timeout);
  said = complaints(page);
  await page.goto(server.address);
});

afterAll(async () => {
  await browser?.close();
  await server?.end();
});

const ready = (where: Page = page) => where.locator("#facts", { hasText: "In use" }).waitFor(PATIENCE);
const answers = () => page.locator(".answer");
const figures = () => page.locator(".figures");

/** Waits for so many ended answers, and gives the last one. */
async function answered(count: number): Promise<string> {
  await figures()
    .nth(count - 1)
    .waitFor(PATIENCE);
  await page.locator("#ask").waitFor();
  return (await answers().last().textContent())!;
}

/** Faults of the page that shut people out, by axe-core. */
async function barriers(): Promise<string[]> {
  if (!(await page.evaluate(() => "axe" in window))) await page.addScriptTag({ path: AXE });
  const found = await page.evaluate(async () => {
    type Violation = { id: string; impact: string; nodes: { html: string }[] };
    const { axe } = window as unknown as { axe: { run(): Promise<{ violations: Violation[] }> } };
    const { violations } = await axe.run();
    return violations.map(({ id, impact, nodes }) => ({ impact, text: `${id}: ${nodes.map((one) => one.html)}` }));
  });
  return found.filter((one) => ["serious", "critical"].includes(one.impact)).map((one) => one.text);
}

/** Looks at the page in both sizes and colours: no barrier, nothing beyond the edge. Pictures go to PHANTOM_SHOTS. */
async function look(name: string): Promise<void> {
  for (const [size, colorScheme] of LOOKS) {
    const isShown = SHOTS !== undefined;
    const isChecked = (size === NARROW) === (colorScheme === "light"); // each size and each colour once
    if (!isShown && !isChecked) continue;
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    await page.setViewportSize(size);
    if (isShown) await page.screenshot({ path: `${SHOTS}/${name}-${size.width}-${colorScheme}.png` });
    if (!isChecked) continue;
    const beyond = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    expect(beyond, `${name} at ${size.width}`).toBeLessThanOrEqual(0);
    expect(await barriers(), `${name} at ${size.width}, ${colorScheme}`).toEqual([]);
  }
}

describe("the page", () => {
  test("opens with what the model is, and pictures that it knows", async () => {
    await ready();
    expect(await page.evaluate(() => crossOriginIsolated)).toBe(true);
    expect(await page.locator("#welcome").isVisible()).toBe(true);
    expect(await page.locator("#caution").textContent()).toContain("photos");
    expect(await page.locator(".sample").count()).toBeGreaterThan(0);
    expect(await page.locator("#facts").textContent()).toContain("WebAssembly");
    expect(await page.locator("#engine-why").textContent()).toMatch(/^WebGPU is not in use: .+\.$/);
    await look("welcome");
  });

  test("is used by the keyboard: the first stop leads to the question", async () => {
    await page.keyboard.press("Tab");
    expect(await page.evaluate(() => document.activeElement!.textContent)).toBe("Skip to the question");
    await page.keyboard.press("Enter");
    expect(await page.evaluate(() => document.activeElement!.id)).toBe("question");
    await page.keyboard.press("Enter");
    expect(await page.locator("#refusal").textContent()).toContain("Write a question first");
  });

  test("answers about a chosen picture as Python does", async () => {
    const [first] = KNOWN;
    await page.setInputFiles("#files", first!.picture);
    await page.locator("#tray img").waitFor();
    await page.fill("#question", first!.question);
    await page.keyboard.press("Enter");
    expect(await answered(1)).toBe(first!.answer);
    expect(await figures().last().textContent()).toMatch(/^first token .+ · \d+ tokens? .*WebAssembly$|tokens\/s/);
    expect(await page.locator("#announcer").textContent()).toBe(`Answer: ${first!.answer}`);
  });

  test("answers a second question about the same picture, whose tokens are reused", async () => {
    const second = KNOWN.find((one) => one.picture === KNOWN[0]!.picture && one.question !== KNOWN[0]!.question)!;
    await page.fill("#question", second.question);
    await page.click("#ask");
    expect(await answered(2)).toBe(second.answer);
    expect(await figures().last().textContent()).toMatch(/\d+ of \d+ prompt tokens reused/);
    await look("conversation");
  });

  test("takes pictures that are pasted or dropped, and refuses other files", async () => {
    const bytes = [...readFileSync(KNOWN[0]!.picture)];
    for (const kind of ["paste", "drop"]) {
      await page.evaluate(
        ([kind, bytes]) => {
          const data = new DataTransfer();
          data.items.add(new File([Uint8Array.from(bytes)], "scene.png", { type: "image/png" }));
          const event =
            kind === "paste"
              ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true })
              : new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
          document.body.dispatchEvent(event);
        },
        [kind, bytes] as const,
      );
      await page.locator(kind === "paste" ? "#tray li" : "#tray li:nth-child(2)").waitFor();
    }
    await page.locator("#tray button").first().click();
    expect(await page.locator("#tray li").count()).toBe(1);
    await page.setInputFiles("#files", {
      name: "notes.txt",
      mimeType: "text/plain",
      buffer: Buffer.from("no picture"),
    });
    await page.locator("#refusal", { hasText: "notes.txt is no picture" }).waitFor();
    await page.locator("#tray button").first().click();
  });

  test("asks about what the camera sees, and takes a picture with it", async () => {
    await page.click("#camera");
    await page.waitForFunction(() => document.querySelector("video")!.currentTime > 0.3);
    await look("camera");
    await page.fill("#question", "How many circles are there?");
    await page.keyboard.press("Enter");
    expect(await answered(3)).not.toBe("");
    expect(await page.locator(".turn").last().locator("img").count()).toBe(1);
    await page.click("#shoot");
    await page.locator("#tray img").waitFor();
    expect(await page.locator("#viewfinder").isVisible()).toBe(false);
    await page.locator("#tray button").click();
  });

  test("stops an answer in the middle", async () => {
    const long = KNOWN.reduce((one, other) => (other.answer.length > one.answer.length ? other : one));
    await page.setInputFiles("#files", long.picture);
    await page.fill("#question", long.question);
    await page.evaluate(() => {
      const seen = new MutationObserver(() => {
        const text = document.querySelector(".turn:last-child .answer")?.textContent;
        if (!text || document.querySelector(".turn:last-child .figures")) return;
        seen.disconnect();
        const [began, stop] = [performance.now(), document.getElementById("stop")!];
        const done = new MutationObserver(() => {
          if (stop.hidden) document.title = `${performance.now() - began}`;
        });
        done.observe(stop, { attributes: true });
        stop.click();
      });
      seen.observe(document.getElementById("thread")!, { childList: true, characterData: true, subtree: true });
    });
    await page.keyboard.press("Enter");
    const text = await answered(4);
    await page.waitForFunction(() => Number(document.title) > 0);
    console.log(`stopped ${Number(await page.title()).toFixed(0)} ms after the click`);
    expect(long.answer.startsWith(text)).toBe(true);
    expect(text.length).toBeLessThan(long.answer.length);
    expect(await figures().last().textContent()).toContain("stopped");
  });

  test("passes the bundle's self-test", async () => {
    await page.setViewportSize(WIDE);
    await page.click("#test");
    await page.locator("#verdict", { hasText: /^Passed: all \d+ comparisons/ }).waitFor(PATIENCE);
    expect(await page.locator("#findings tbody tr").count()).toBeGreaterThan(30);
    await look("self-test");
    await page.click("#report-close");
  });

  test("opens and closes the panel on a small screen", async () => {
    await page.setViewportSize(NARROW);
    expect(await page.locator("#panel").isVisible()).toBe(false);
    await page.click("#panel-button");
    expect(await page.locator("#panel").isVisible()).toBe(true);
    await look("panel");
    await page.setViewportSize(NARROW);
    await page.keyboard.press("Escape");
    expect(await page.locator("#panel").isVisible()).toBe(false);
    await page.setViewportSize(WIDE);
  });

  test("has the conversation after a reload, pictures included", async () => {
    const before = await page.locator(".turn").allTextContents();
    await page.reload();
    await ready();
    expect(await page.locator(".turn").allTextContents()).toEqual(before);
    const widths = await page.locator(".shown img").evaluateAll(async (all) => {
      for (const one of all) await (one as HTMLImageElement).decode();
      return all.map((one) => (one as HTMLImageElement).naturalWidth);
    });
    expect(widths.length).toBeGreaterThanOrEqual(3);
    expect(widths.every((one) => one > 0)).toBe(true);
    expect(said).toEqual([]);
  });

  test("loads and answers without its server", async () => {
    const { port } = server;
    await server.end();
    await page.reload();
    await ready();
    expect(await page.locator(".turn").count()).toBe(4);
    const [first] = KNOWN;
    await page.setInputFiles("#files", first!.picture);
    await page.fill("#question", first!.question);
    await page.keyboard.press("Enter");
    expect(await answered(5)).toBe(first!.answer);
    server = await Server.start("PHANTOM_DEMO", "--port", port);
  });

  test("begins a new conversation, and asks about a sample", async () => {
    await page.click("#begin-anew");
    expect(await page.locator("#welcome").isVisible()).toBe(true);
    await page.reload();
    await ready();
    expect(await page.locator(".turn").count()).toBe(0);
    await page.locator(".sample .chip").first().click();
    expect(await answered(1)).not.toBe("");
    expect(await page.locator(".turn img").count()).toBe(1);
  });

  test("says what is missing where the storage is smaller than the bundle", async () => {
    const other = await browser.newContext({ viewport: WIDE });
    const small = await other.newPage();
    const session = await other.newCDPSession(small);
    const origin = new URL(server.address).origin;
    await session.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: 4_000_000 });
    await small.goto(server.address);
    await small.locator("#trouble .fault").waitFor(PATIENCE);
    const text = await small.locator("#trouble").textContent();
    expect(text).toMatch(/MB|full/);
    if (SHOTS) await small.screenshot({ path: `${SHOTS}/small-storage-1440-light.png` });
    await session.send("Storage.overrideQuotaForOrigin", { origin });
    await small.locator("#trouble button", { hasText: "Try again" }).click();
    await ready(small);
    await other.close();
  });
});

test("a server without headers of its own: the service worker isolates the page", async () => {
  const plain = await Server.start("PHANTOM_STATIC");
  const other = await browser.newContext({ viewport: WIDE });
  const visit = await other.newPage();
  const noise = complaints(visit);
  await visit.goto(plain.address);
  await visit.waitForFunction(() => crossOriginIsolated, null, PATIENCE);
  await ready(visit);
  expect(await visit.locator("#facts").textContent()).not.toContain("not isolated");
  await visit.locator(".sample .chip").first().click();
  await visit.locator(".figures").waitFor(PATIENCE);
  expect(noise).toEqual([]);
  await other.close();
  await plain.end();
});
