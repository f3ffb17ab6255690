import { download, isWhole, noConnection, present, tooLarge, type Wanted } from "./download.js";
import { damaged, PhantomError, reasonOf } from "./errors.js";
import type { ListedFile, Manifest } from "./manifest.js";
import { MANIFEST, MOST_MANIFEST_BYTES, readManifest } from "./manifest-reader.js";
import { sha256 } from "./sha256.js";
import type { Shelf } from "./shelf.js";
import { checkSignature, MOST_SIGNATURE_BYTES, type PublicKey, SIGNATURE, tooLong } from "./signature.js";

const SUFFIX = ".json";
const SIGNED = ".minisig";
const MEGA = 1e6;

/** A bundle's address, made whole: `https://.../`. Raises PhantomError for one that no page can fetch from. */
export function checkedAddress(address: string | URL, base: string): string {
  let url: URL;
  try {
    url = new URL(address, base);
  } catch (error) {
    throw badAddress(`${address} is no address`, error);
  }
  if (!["http:", "https:"].includes(url.protocol)) throw badAddress(`${url} is no address of http or https`);
  if (url.username || url.password) throw badAddress("the address holds a name or a password");
  url.search = url.hash = "";
  if (!url.pathname.endsWith("/")) url.pathname += "/";
  return url.href;
}

function badAddress(problem: string, cause?: unknown): PhantomError {
  return new PhantomError("bad question", problem, 'give the folder of a bundle: Phantom.open("./nano-web/")', {
    cause,
  });
}

/** The files of a bundle: on a server, and on a shelf once they were read and found right. */
export class Store {
  constructor(
    private readonly address: string,
    private readonly shelf: Shelf,
    private readonly signal: AbortSignal,
  ) {}

  private text: Uint8Array = new Uint8Array();
  private signature: Uint8Array | undefined;

  /**
   * The manifest of the server, or, without a connection, that of the bundle that was kept last; signed with the key
   * where one is given. Raises PhantomError.
   */
  async manifest(key?: PublicKey): Promise<Manifest> {
    const fetched = await this.fetched();
    this.text = fetched ?? (await this.kept(SUFFIX)) ?? new Uint8Array();
    if (this.text.length === 0) throw noConnection(`${this.address} does not answer, and nothing of it was kept`);
    if (key !== undefined) {
      this.signature = await (fetched ? this.fetchedSignature() : this.kept(SIGNED));
      await checkSignature(this.address, this.text, this.signature, key);
    }
    return readManifest(this.text, this.address);
  }

  private async fetched(): Promise<Uint8Array | undefined> {
    let response: Response;
    try {
      response = await fetch(this.address + MANIFEST, { signal: this.signal, cache: "no-cache" });
    } catch {
      this.signal.throwIfAborted();
      return undefined; // no connection
    }
    if (response.status >= 500) return undefined;
    if (response.status === 404 || response.status === 410) {
      const remedy = "give a bundle: the folder that phantom-edge export wrote";
      throw damaged(`${this.address} is no bundle: it has no ${MANIFEST}`, remedy);
    }
    if (!response.ok) throw noConnection(`${this.address} answers ${response.status}`);
    if (Number(response.headers.get("Content-Length")) > MOST_MANIFEST_BYTES) {
      throw damaged(`${this.address}${MANIFEST} cannot be read (it is no manifest)`);
    }
    try {
      return new Uint8Array(await response.arrayBuffer());
    } catch (error) {
      this.signal.throwIfAborted();
      throw noConnection(`${this.address}${MANIFEST} does not arrive (${reasonOf(error)})`, error);
    }
  }

  /** Undefined where the server has none. */
  private async fetchedSignature(): Promise<Uint8Array | undefined> {
    const url = this.address + SIGNATURE;
    try {
      const response = await fetch(url, { signal: this.signal, cache: "no-cache" });
      if (response.status === 404 || response.status === 410) return undefined;
      if (!response.ok) throw noConnection(`${url} answers ${response.status}`);
      if (Number(response.headers.get("Content-Length")) > MOST_SIGNATURE_BYTES) throw tooLong(url);
      return new Uint8Array(await response.arrayBuffer());
    } catch (error) {
      this.signal.throwIfAborted();
      if (error instanceof PhantomError) throw error;
      throw noConnection(`${url} does not arrive (${reasonOf(error)})`, error);
    }
  }

  private async name(suffix: string): Promise<string> {
    return (await sha256(new TextEncoder().encode(this.address))) + suffix;
  }

  private async kept(suffix: string): Promise<Uint8Array | undefined> {
    const name = await this.name(suffix);
    const size = await this.shelf.size(name);
    return size === undefined ? undefined : this.shelf.read(name, 0, size);
  }

  /** Brings these files onto the shelf, those that are not there. Raises PhantomError where they do not fit. */
  async bring(manifest: Manifest, names: readonly string[], progress: (done: number, all: number) => void) {
    await this.shelf.exclusively(async () => {
      const files = new Map(names.map((name) => [name, listedOf(manifest, name)]));
      const all = [...files.values()].reduce((sum, one) => sum + one.bytes, 0);
      const counts = new Map<string, number>();
      for (const [name, listed] of files) counts.set(name, await present({ listed, shelf: this.shelf }));
      const done = () => [...counts.values()].reduce((sum, one) => sum + one, 0);
      await this.checkRoom(all - done());
      progress(done(), all);
      for (const [name, listed] of files) {
        const wanted: Wanted = {
          url: this.urlOf(name),
          listed,
          shelf: this.shelf,
          signal: this.signal,
          progress: (bytes) => {
            counts.set(name, bytes);
            progress(done(), all);
          },
        };
        if (!(await isWhole(wanted))) await download(wanted);
      }
    });
  }

  private async checkRoom(missing: number): Promise<void> {
    const room = await this.shelf.room();
    if (room === undefined || missing <= room) return;
    const [needed, given] = [missing, room].map((bytes) => Math.ceil(bytes / MEGA));
    throw tooLarge(`${this.address} needs ${needed} MB more, and the browser gives this page ${given} MB`);
  }

  private urlOf(name: string): string {
    return this.address + name.split("/").map(encodeURIComponent).join("/");
  }

  /** The bytes of a file that is on the shelf, held against the manifest once more. */
  async read(manifest: Manifest, name: string): Promise<Uint8Array> {
    const listed = listedOf(manifest, name);
    const bytes = await this.shelf.read(listed.sha256, 0, listed.bytes);
    if (bytes.length === listed.bytes && (await sha256(bytes)) === listed.sha256) return bytes;
    await this.shelf.remove(listed.sha256);
    throw damaged(`${name} was damaged in the browser's storage`, "open the bundle again: it is read anew");
  }

  /** Keeps the manifest for times without a connection, and drops files that no kept manifest lists any more. */
  async keep(manifest: Manifest): Promise<void> {
    const [name, signed] = [await this.name(SUFFIX), await this.name(SIGNED)];
    await this.shelf.exclusively(async () => {
      const before = await this.kept(SUFFIX);
      const isSame = before?.length === this.text.length && before.every((byte, at) => byte === this.text[at]);
      if (this.signature) await this.write(signed, this.signature);
      else if (!isSame) await this.shelf.remove(signed); // that of another manifest
      if (isSame) return;
      const old = before && (await listedHashes(before));
      await this.write(name, this.text);
      if (old) await this.drop(old, manifest);
    });
  }

  private async write(name: string, bytes: Uint8Array): Promise<void> {
    await this.shelf.remove(name);
    const writer = await this.shelf.extend(name, bytes.length);
    writer.append(bytes);
    writer.close();
  }

  private async drop(old: ReadonlySet<string>, manifest: Manifest): Promise<void> {
    const used = new Set([...manifest.files.values()].map((one) => one.sha256));
    for (const other of await this.shelf.names()) {
      if (!other.endsWith(SUFFIX)) continue;
      const text = await this.shelf.read(other, 0, (await this.shelf.size(other)) ?? 0);
      for (const one of await listedHashes(text)) used.add(one);
    }
    for (const one of old) if (!used.has(one)) await this.shelf.remove(one);
  }
}

function listedOf(manifest: Manifest, name: string): ListedFile {
  const found = manifest.files.get(name);
  if (!found) throw damaged(`'${name}' is used but not in files`);
  return found;
}

/** Hashes of the files of a kept manifest; none where an older version of this library kept it. */
async function listedHashes(text: Uint8Array): Promise<Set<string>> {
  try {
    const manifest = await readManifest(text, "");
    return new Set([...manifest.files.values()].map((one) => one.sha256));
  } catch (error) {
    if (error instanceof PhantomError) return new Set();
    throw error;
  }
}
