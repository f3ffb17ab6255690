// Ask the page of a README in Chromium: node ask.mjs URL PICTURE QUESTION FLAGS...
// Prints, as JSON, the engine that it chose, its answer, and what the console said.

import chromium from "@sparticuz/chromium";
import { chromium as driver } from "playwright-core";

const [url, picture, question, ...flags] = process.argv.slice(2), said = [];
const args = ["--no-sandbox", ...flags];
const browser = await driver.launch({ executablePath: await chromium.executablePath(), args });
try {
  const page = await browser.newPage();
  page.on("console", (message) => said.push(`${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => said.push(`error: ${error.message}`));
  await page.goto(url);
  const status = (...words) =>
    page.waitForFunction(
      (words) => words.some((word) => document.querySelector("p").textContent.startsWith(word)),
      words,
      { timeout: 280000 },
    );
  await status("Ready", "Error");
  const ready = await page.textContent("p");
  let answer = "";
  if (ready.startsWith("Ready")) {
    await page.setInputFiles("[name=picture]", picture);
    await page.fill("[name=question]", question);
    await page.click("button");
    await status("Done", "Error");
    answer = await page.evaluate(() => document.querySelector("output").value);
  }
  process.stdout.write(JSON.stringify({ ready, ended: await page.textContent("p"), answer, said }));
} finally {
  await browser.close();
}
