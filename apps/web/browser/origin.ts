import { existsSync, readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { extname } from "node:path";

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".wasm": "application/wasm",
};
const ISOLATED = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" };

/** A part of an origin: folders, of which the first that has a file counts, and files that are missing. */
export interface Place {
  readonly path: string;
  readonly folders: readonly string[];
  readonly missing?: readonly string[];
}

export interface Origin {
  readonly address: string;
  close(): Promise<void>;
}

/** Serves folders of this machine as one origin; of places that fit, the longest path counts. */
export async function served(places: readonly Place[]): Promise<Origin> {
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url!, "http://x").pathname);
    const fitting = places.filter((one) => path.startsWith(one.path));
    const place = fitting.sort((one, other) => other.path.length - one.path.length)[0];
    const name = path.slice(place?.path.length ?? 0) || "index.html";
    const files = place?.missing?.includes(name) ? [] : (place?.folders ?? []).map((one) => `${one}/${name}`);
    const file = files.find((one) => existsSync(one) && statSync(one).isFile());
    if (file === undefined) {
      response.writeHead(404).end();
      return;
    }
    const content = readFileSync(file);
    const type = TYPES[extname(file)] ?? "application/octet-stream";
    response.writeHead(200, { ...ISOLATED, "Content-Type": type, "Content-Length": content.length }).end(content);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    address: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
