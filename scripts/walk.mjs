// Ask the page of apps/web in Chromium: node scripts/walk.mjs ADDRESS PICTURE QUESTION [SCREENSHOT]
// Prints the answer. The driver is a package of apps/web: make web installs it.

import { existsSync } from "node:fs";
import { createRequire } from "node:module";

const { chromium } = createRequire(new URL("../apps/web/package.json", import.meta.url))("playwright-core");
const [address, picture, question, screenshot] = process.argv.slice(2);
const places = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const executablePath = process.env.PHANTOM_CHROMIUM ?? places.find((one) => existsSync(one));
if (!executablePath) throw new Error("there is no Chromium; name it in PHANTOM_CHROMIUM");
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
try {
  const page = await browser.newPage({ viewport: { width: 1200, height: 760 }, colorScheme: "light" });
  page.setDefaultTimeout(180_000);
  await page.goto(address);
  await page.locator("#facts", { hasText: "In use" }).waitFor();
  await page.setInputFiles("#files", picture);
  await page.locator("#tray img").waitFor();
  for (const [number, one] of question.split("|").entries()) {
    await page.fill("#question", one);
    await page.keyboard.press("Enter");
    await page.locator(".figures").nth(number).waitFor();
    await page.locator("#ask").waitFor();
  }
  console.log(await page.locator(".answer").last().textContent());
  if (screenshot) await page.screenshot({ path: screenshot });
} finally {
  await browser.close();
}
