import { existsSync, readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** A server of bundles, with the faults of real ones. */
export interface Bundles {
  readonly address: string;
  /** Paths that were asked for, with the first byte that was wanted. */
  readonly asked: [string, number][];
  close(): Promise<void>;
}

export interface Serving {
  /** Folders, of which the first that has a file counts. */
  readonly folders: readonly string[];
  readonly missing?: readonly string[];
  /** Changes the answer to a request by its number; true where nothing is left to do. */
  readonly fault?: (request: IncomingMessage, response: ServerResponse, content: Buffer, number: number) => boolean;
  /** False for a server that always sends whole files. */
  readonly knowsRanges?: boolean;
}

/** Serves files on this machine, as a static host does. */
export async function served({ folders, missing = [], fault, knowsRanges = true }: Serving): Promise<Bundles> {
  const asked: [string, number][] = [];
  const server = createServer((request, response) => {
    const name = decodeURIComponent(request.url!.slice(1));
    const folder = folders.find((one) => existsSync(`${one}/${name}`));
    const first = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0);
    asked.push([name, first]);
    if (folder === undefined || missing.includes(name)) {
      response.writeHead(404).end();
      return;
    }
    const content = readFileSync(`${folder}/${name}`);
    if (fault?.(request, response, content, asked.length - 1)) return;
    if (first === 0 || !knowsRanges) {
      response.writeHead(200, { "Content-Length": content.length }).end(content);
    } else if (first >= content.length) {
      response.writeHead(416, { "Content-Range": `bytes */${content.length}` }).end();
    } else {
      const range = `bytes ${first}-${content.length - 1}/${content.length}`;
      response.writeHead(206, { "Content-Range": range, "Content-Length": content.length - first });
      response.end(content.subarray(first));
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    address: `http://127.0.0.1:${port}/`,
    asked,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
