import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { download, isWhole } from "../src/lib/download.js";
import { PhantomError } from "../src/lib/errors.js";
import { MemoryShelf } from "../src/lib/shelf.js";
import { Store } from "../src/lib/store.js";
import { MADE } from "./conformance.js";
import { resealed } from "./manifests.js";
import { type Bundles, type Serving, served } from "./server.js";

const content = Buffer.from(Array.from({ length: 300_000 }, (_, at) => (at * 7919) >> 5));
const listed = { bytes: content.length, sha256: createHash("sha256").update(content).digest("hex") };
const CUT = 100_000;

/** Breaks the connection after some bytes. */
const breaking: NonNullable<Serving["fault"]> = (request, response, whole) => {
  const first = Number(/^bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
  const range = `bytes ${first}-${whole.length - 1}/${whole.length}`;
  response.writeHead(first ? 206 : 200, { "Content-Length": whole.length - first, "Content-Range": range });
  response.write(whole.subarray(first, first + CUT), () => setTimeout(() => response.destroy(), 20));
  return true;
};

describe("downloads", () => {
  let folder = "";
  let server: Bundles | undefined;

  beforeEach(() => {
    folder = mkdtempSync(`${tmpdir()}/phantom-`);
    writeFileSync(`${folder}/x.data`, content);
  });

  afterEach(async () => {
    await server?.close();
    server = undefined;
    rmSync(folder, { recursive: true });
  });

  async function wantedOf(serving: Partial<Serving>, shelf = new MemoryShelf(), signal = new AbortController().signal) {
    server = await served({ folders: [folder], ...serving });
    const seen: number[] = [];
    return {
      url: `${server.address}x.data`,
      listed,
      shelf,
      signal,
      seen,
      progress: (bytes: number) => seen.push(bytes),
    };
  }

  async function contentOf(shelf: MemoryShelf): Promise<boolean> {
    return content.equals(await shelf.read(listed.sha256, 0, listed.bytes));
  }

  test("a broken connection is taken up where it broke", async () => {
    const wanted = await wantedOf({ fault: (...all) => all[3] < 2 && breaking(...all) });
    await download(wanted);
    expect(await contentOf(wanted.shelf)).toBe(true);
    expect(server!.asked.map(([, first]) => first)).toEqual([0, CUT, 2 * CUT]);
    expect(wanted.seen).toEqual([...wanted.seen].sort((one, other) => one - other));
    expect(wanted.seen.at(-1)).toBe(content.length);
  });

  test("what an earlier visit has left is not read again, also where it was stopped", async () => {
    const shelf = new MemoryShelf();
    const controller = new AbortController();
    const wanted = await wantedOf({ fault: breaking }, shelf, controller.signal);
    const stopping = download({ ...wanted, progress: () => setTimeout(() => controller.abort(), 0) });
    await expect(stopping).rejects.toMatchObject({ name: "AbortError" });
    const left = (await shelf.size(listed.sha256))!;
    expect(left).toBeGreaterThan(0);
    expect(left).toBeLessThan(listed.bytes);
    await server!.close();
    const again = await wantedOf({}, shelf);
    await download(again);
    expect(server!.asked).toEqual([["x.data", left]]);
    expect(await contentOf(shelf)).toBe(true);
  });

  test("a server without ranges sends the whole again", async () => {
    const wanted = await wantedOf({ knowsRanges: false, fault: (...all) => all[3] < 1 && breaking(...all) });
    await download(wanted);
    expect(await contentOf(wanted.shelf)).toBe(true);
  });

  test("a server that answers with errors for a while is asked again", async () => {
    const wanted = await wantedOf({
      fault: (_, response, __, number) => number < 2 && !!response.writeHead(503).end(),
    });
    await download(wanted);
    expect(await contentOf(wanted.shelf)).toBe(true);
  });

  test("other bytes that an earlier visit has left are read anew", async () => {
    const shelf = new MemoryShelf();
    (await shelf.extend(listed.sha256, listed.bytes)).append(new Uint8Array(1000));
    await download(await wantedOf({}, shelf));
    expect(await contentOf(shelf)).toBe(true);
    expect(server!.asked.map(([, first]) => first)).toEqual([1000, 0]);
  });

  test("a file that is too long on the shelf is read anew", async () => {
    const shelf = new MemoryShelf();
    (await shelf.extend(listed.sha256, listed.bytes + 1)).append(new Uint8Array(listed.bytes + 1));
    await download(await wantedOf({}, shelf));
    expect(await contentOf(shelf)).toBe(true);
  });

  const endless = (fault: NonNullable<Serving["fault"]>) => ({ fault });
  const wrong: [string, string, () => Partial<Serving>, RegExp][] = [
    ["another length", "damaged bundle", () => change(content.subarray(1)), /x\.data has 299999 bytes/],
    ["more bytes", "damaged bundle", () => change(Buffer.concat([content, content])), /has at least 600000 bytes/],
    ["other bytes", "damaged bundle", () => change(Buffer.from(content).fill(1, 5, 9)), /is not the file/],
    ["no bytes", "damaged bundle", () => ({ missing: ["x.data"] }), /x\.data is missing/],
    ["a refusal", "no connection", () => endless((_, response) => !!response.writeHead(403).end()), /403/],
    [
      "more bytes than announced by nobody",
      "damaged bundle",
      () => endless((_, response, whole) => !!response.end(Buffer.concat([whole, whole]))),
      /has at least/,
    ],
    [
      "fewer bytes than announced by nobody",
      "damaged bundle",
      () => endless((_, response, whole) => !!response.end(whole.subarray(9))),
      /has 299991 bytes/,
    ],
  ];

  function change(bytes: Buffer): Partial<Serving> {
    writeFileSync(`${folder}/x.data`, bytes);
    return {};
  }

  test.each(wrong)("%s: refused, and nothing is left", async (_, fault, serving, says) => {
    const wanted = await wantedOf(serving());
    await expect(download(wanted)).rejects.toMatchObject({ fault, problem: expect.stringMatching(says) });
    expect(await isWhole(wanted)).toBe(false);
    expect(await wanted.shelf.names()).toEqual([]);
  });

  test("a connection that never holds ends in an error with a remedy", async () => {
    const wanted = await wantedOf({ fault: (_, response) => !!response.destroy() });
    const error = await download(wanted).catch((found) => found);
    expect(error).toBeInstanceOf(PhantomError);
    expect(error).toMatchObject({ fault: "no connection", remedy: expect.stringContaining("goes on") });
    expect(server!.asked.length).toBe(5);
  });

  const full = new DOMException("full", "QuotaExceededError");

  /** Storage that is full when a file is opened, after some bytes, or when it is closed. */
  class Full extends MemoryShelf {
    constructor(private readonly place: "opening" | "writing" | "closing") {
      super();
    }

    override async extend(name: string, bytes: number) {
      const writer = await super.extend(name, bytes);
      if (this.place === "opening") throw full;
      let room = this.place === "writing" ? 150_000 : Number.POSITIVE_INFINITY;
      const append = (more: Uint8Array) => {
        room -= more.length;
        if (room < 0) throw full;
        writer.append(more);
      };
      const close = () => {
        writer.close();
        if (this.place === "closing") throw full;
      };
      return { append, close };
    }
  }

  test.each(["opening", "writing", "closing"] as const)(
    "a full storage is named at %s, and nothing stays",
    async (at) => {
      const wanted = await wantedOf({}, new Full(at));
      await expect(download(wanted)).rejects.toMatchObject({ fault: "too large" });
      expect(await wanted.shelf.names()).toEqual([]);
    },
  );
});

describe("a store", () => {
  const bundle = `${MADE}/bundles/int4`;
  const { signal } = new AbortController();
  const quiet = () => undefined;

  test("answers without a connection from what it kept, and refuses files that changed in the storage", async () => {
    const shelf = new MemoryShelf();
    const server = await served({ folders: [bundle] });
    const store = new Store(server.address, shelf, signal);
    const manifest = await store.manifest();
    const names = ["vision.onnx", "tokenizer.json"];
    const seen: [number, number][] = [];
    await store.bring(manifest, names, (done, all) => seen.push([done, all]));
    await store.keep(manifest);
    expect(seen[0]![0]).toBe(0);
    expect(seen.at(-1)![0]).toBe(seen.at(-1)![1]);
    await server.close();
    const offline = new Store(server.address, shelf, signal);
    expect((await offline.manifest()).seal).toBe(manifest.seal);
    await offline.bring(manifest, names, quiet);
    expect((await offline.read(manifest, "vision.onnx")).length).toBe(manifest.files.get("vision.onnx")!.bytes);
    (await shelf.read(manifest.files.get("vision.onnx")!.sha256, 9, 10))[0]! ^= 1;
    await expect(offline.read(manifest, "vision.onnx")).rejects.toMatchObject({ fault: "damaged bundle" });
    const { sha256 } = manifest.files.get("vision.onnx")!;
    expect(await shelf.size(sha256)).toBeUndefined();
    const other = new Store("http://127.0.0.1:9/", shelf, signal);
    await expect(other.manifest()).rejects.toMatchObject({ fault: "no connection" });
  });

  test("drops files of an older bundle that no bundle lists any more", async () => {
    const shelf = new MemoryShelf();
    const folder = mkdtempSync(`${tmpdir()}/phantom-`);
    const server = await served({ folders: [folder, bundle] });
    const store = new Store(server.address, shelf, signal);
    const manifest = await store.manifest();
    await store.bring(manifest, ["vision.onnx", "tokenizer.json"], quiet);
    await store.keep(manifest);
    const other = resealed(bundle, (document) => {
      document.files["vision.onnx"].sha256 = "1".repeat(64);
    });
    writeFileSync(`${folder}/phantom.json`, other);
    const next = new Store(server.address, shelf, signal);
    const newer = await next.manifest();
    expect(newer.seal).not.toBe(manifest.seal);
    await next.keep(newer);
    expect(await shelf.size(manifest.files.get("vision.onnx")!.sha256)).toBeUndefined();
    expect(await shelf.size(manifest.files.get("tokenizer.json")!.sha256)).toBeGreaterThan(0);
    await server.close();
    rmSync(folder, { recursive: true });
  });

  test("asks for room before it reads", async () => {
    class Small extends MemoryShelf {
      override async room() {
        return 1000 as never;
      }
    }
    const server = await served({ folders: [bundle] });
    const shelf = new Small();
    const store = new Store(server.address, shelf, signal);
    const manifest = await store.manifest();
    const bringing = store.bring(manifest, ["decoder.data"], quiet);
    await expect(bringing).rejects.toMatchObject({ fault: "too large", problem: expect.stringMatching(/MB more/) });
    expect(await shelf.names()).toEqual([]);
    await server.close();
  });
});
