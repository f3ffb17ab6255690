// Open a page in Chromium and tell, as JSON, what a reader would see: node look.mjs PAGE FOLDER SCHEME WIDTH...
// A picture of its beginning is written for each width.

import chromium from "@sparticuz/chromium";
import { chromium as driver } from "playwright-core";
import { pathToFileURL } from "node:url";

const [page, folder, scheme, ...widths] = process.argv.slice(2);

/** In the page: what sticks out, what is small, what is faint, what is drawn. */
function seen() {
  const luminance = ([red, green, blue]) => {
    const linear = (part) => (part <= 0.04045 * 255 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
  };
  const numbers = (color) => color.match(/[\d.]+/g).map(Number);
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const color = numbers(getComputedStyle(one).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const small = [];
  const faint = [];
  let words = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim();
    const element = walker.currentNode.parentElement;
    const range = document.createRange();
    range.selectNodeContents(walker.currentNode);
    const box = range.getBoundingClientRect();
    if (!text || ["STYLE", "TITLE", "SCRIPT"].includes(element.tagName) || !box.width) continue;
    words += 1;
    const style = getComputedStyle(element);
    const drawing = element.closest("svg");
    const turned = drawing?.contains(element) ? element.getScreenCTM() : { a: 1, b: 0 };
    const scale = Math.hypot(turned.a, turned.b);
    const size = parseFloat(style.fontSize) * scale;
    if (size < 9) small.push(`${text.slice(0, 40)}: ${size.toFixed(1)} px`);
    const ink = numbers(drawing ? style.fill : style.color);
    const [bright, dark] = [luminance(ink), luminance(behind(element))].sort((one, other) => other - one);
    const contrast = (bright + 0.05) / (dark + 0.05);
    if (contrast < 4.5) faint.push(`${text.slice(0, 40)}: ${contrast.toFixed(2)}`);
  }
  const plots = [...document.querySelectorAll("figure > svg")].map((one) => {
    const box = one.getBoundingClientRect();
    return { left: box.left, right: box.right, height: box.height, drawn: one.querySelectorAll("path, rect").length };
  });
  const cut = [...document.querySelectorAll("h1, h2, h3, p, figcaption")]
    .filter((one) => one.getBoundingClientRect().right > innerWidth + 0.5 || one.scrollWidth > one.clientWidth + 1)
    .map((one) => one.textContent.slice(0, 40));
  return { width: document.documentElement.scrollWidth, words, small, faint, plots, cut };
}

// Not the package's own arguments: one process for all ends now and then without a word.
const args = ["--no-sandbox", "--disable-gpu"];
const browser = await driver.launch({ executablePath: await chromium.executablePath(), args });
const told = [];
try {
  for (const width of widths.map(Number)) {
    const context = await browser.newContext({ viewport: { width, height: 2400 }, colorScheme: scheme });
    const opened = await context.newPage();
    const [said, asked] = [[], []];
    opened.on("console", (message) => said.push(`${message.type()}: ${message.text()}`));
    opened.on("pageerror", (error) => said.push(`error: ${error.message}`));
    opened.on("request", (request) => asked.push(request.url()));
    await opened.goto(pathToFileURL(page).href);
    const path = `${folder}/${scheme}-${width}.png`;
    // on a busy machine it now and then says that it is unable to
    for (let tries = 3; tries; tries -= 1) {
      try {
        await opened.screenshot({ path });
        break;
      } catch (error) {
        if (tries === 1) throw error;
      }
    }
    told.push({ viewport: width, said, asked: asked.length, ...(await opened.evaluate(seen)) });
    await context.close();
  }
} finally {
  await browser.close();
}
process.stdout.write(JSON.stringify(told));
