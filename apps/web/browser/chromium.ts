import { existsSync } from "node:fs";
import { type Browser, chromium, type Page } from "playwright-core";

const PLACES = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

const CAMERA = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"];
const NO_GPU = ["--disable-gpu"];
/** WebGPU computed on the CPU: right, and slow. */
export const SOFTWARE_GPU = [
  "--use-angle=swiftshader",
  "--enable-unsafe-webgpu",
  "--enable-features=Vulkan",
  "--use-webgpu-adapter=swiftshader",
  "--enable-unsafe-swiftshader",
];

/** Starts Chromium without a window: the one that PHANTOM_CHROMIUM names, or that of the system. */
export function launched(flags: readonly string[] = NO_GPU): Promise<Browser> {
  const executablePath = process.env.PHANTOM_CHROMIUM ?? PLACES.find((one) => existsSync(one));
  if (executablePath === undefined) throw new Error("there is no Chromium; name it in PHANTOM_CHROMIUM");
  return chromium.launch({ executablePath, args: ["--no-sandbox", ...CAMERA, ...flags] });
}

/** Errors and warnings of a page's console, and errors that nothing caught. */
export function complaints(page: Page): string[] {
  const found: string[] = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) found.push(`${message.type()}: ${message.text()}`);
  });
  page.on("pageerror", (error) => found.push(`error: ${error.message}`));
  return found;
}
