import { blake2b } from "hash-wasm";
import { describe, expect, test } from "vitest";
import type { PhantomError } from "../src/lib/errors.js";
import type { OpenOptions } from "../src/lib/opened.js";
import { MemoryShelf } from "../src/lib/shelf.js";
import { checkSignature, readPublicKey } from "../src/lib/signature.js";
import { Store } from "../src/lib/store.js";
import { bytesOf, jsonOf, MADE } from "./conformance.js";
import { connected } from "./opening.js";
import { type Serving, served } from "./server.js";

/** What Python says of a signed bundle that was changed, or not, by a key. */
interface Case {
  readonly name: string;
  readonly folder: string;
  readonly key: string;
  readonly comment: string;
  readonly problem: string;
  readonly remedy: string;
}

const { cases, no_keys, digests } = jsonOf<{
  cases: Case[];
  no_keys: string[];
  digests: { bytes: number; blake2b: string }[];
}>("signatures.json");

const INT4 = `${MADE}/bundles/int4`;
const right = cases.find((one) => one.comment !== "")!;

/** Opens a manifest from a server; gives its address and the fault. */
async function opening(folders: string[], key: string, more: Partial<Serving> = {}) {
  const server = await served({ folders, ...more });
  const store = new Store(server.address, new MemoryShelf(), new AbortController().signal);
  const fault = await store.manifest(readPublicKey(key)).then(
    () => undefined,
    (error: PhantomError) => error,
  );
  await server.close();
  return { address: server.address, fault };
}

describe("signatures", () => {
  test.each(cases)("$name", async ({ folder, key, comment, problem, remedy }) => {
    // Without those of the bundle itself, which has no signature: the folder's files are all that is read.
    const { address, fault } = await opening([`${MADE}/signatures/${folder}`], key);
    if (comment !== "") {
      expect(fault).toBeUndefined();
      return;
    }
    expect(fault).toMatchObject({ fault: "untrusted", remedy });
    const wanted = problem.replace("BUNDLE/", address).replace("BUNDLE", address);
    expect(fault!.problem.startsWith(wanted), `${fault!.problem} is not ${wanted}`).toBe(true);
  });

  test("the trusted comment is given", async () => {
    const [manifest, signature] = ["phantom.json", "phantom.json.minisig"].map((name) =>
      bytesOf(`signatures/${right.folder}/${name}`),
    );
    expect(await checkSignature("x/", manifest!, signature, readPublicKey(right.key))).toBe(right.comment);
  });

  test.each(no_keys)("no key: %j", (text) => {
    expect(() => readPublicKey(text)).toThrow(/the key is no public key of minisign/);
  });

  test("a bundle is opened by its key, and refused by another before any other file is read", async () => {
    const folders = [`${MADE}/signatures/${right.folder}`, INT4];
    const other = cases.find((one) => one.name === "another key")!;
    const server = await served({ folders });
    const open = (options: OpenOptions) => connected(server.address, options);
    (await open({ key: right.key })).close();
    const read = server.asked.length;
    await expect(open({ key: other.key })).rejects.toMatchObject({ fault: "untrusted" });
    expect(server.asked.slice(read).map(([name]) => name)).toEqual(["phantom.json", "phantom.json.minisig"]);
    await expect(open({ key: "x" })).rejects.toMatchObject({ fault: "bad question" });
    expect(server.asked.length).toBe(read + 2);
    await server.close();
  });

  test("a signature that does not arrive is no missing one", async () => {
    const folders = [`${MADE}/signatures/${right.folder}`];
    const failing: Serving["fault"] = (request, response) =>
      request.url!.endsWith(".minisig") && !!response.writeHead(503).end();
    expect((await opening(folders, right.key, { fault: failing })).fault).toMatchObject({ fault: "no connection" });
  });

  test("one that is announced as too long is refused before it arrives", async () => {
    const folders = [`${MADE}/signatures/${right.folder}`];
    const endless: Serving["fault"] = (request, response) => {
      if (!request.url!.endsWith(".minisig")) return false;
      response.writeHead(200, { "Content-Length": 1e9 }).write("untrusted");
      return true;
    };
    const { fault } = await opening(folders, right.key, { fault: endless });
    expect(fault).toMatchObject({ fault: "untrusted", problem: expect.stringContaining("it is no signature") });
  });

  test("without a connection, what was kept is checked as well", async () => {
    const server = await served({ folders: [`${MADE}/signatures/${right.folder}`] });
    const shelf = new MemoryShelf();
    const store = () => new Store(server.address, shelf, new AbortController().signal);
    const key = readPublicKey(right.key);
    const unsigned = store();
    await unsigned.keep(await unsigned.manifest());
    const first = store();
    await first.keep(await first.manifest(key));
    await server.close();
    await expect(store().manifest(key)).resolves.toBeDefined();
    const signature = (await shelf.names()).find((name) => name.endsWith(".minisig"))!;
    await shelf.remove(signature);
    await expect(store().manifest(key)).rejects.toMatchObject({ fault: "untrusted" });
  });

  test("BLAKE2b is Python's", async () => {
    for (const { bytes, blake2b: digest } of digests) {
      const text = Uint8Array.from({ length: bytes }, (_, at) => (7 * at) % 251);
      expect(await blake2b(text, 512)).toBe(digest);
    }
  });
});
