import { damaged, PhantomError, reasonOf } from "./errors.js";
import type { ListedFile } from "./manifest.js";
import { Hasher } from "./sha256.js";
import type { Shelf, Writer } from "./shelf.js";

const MOST_FAILURES = 4;
const FIRST_PAUSE_MS = 250;
const BLOCK = 1 << 24;

/** A connection that broke: what was read stays, and the rest is asked for again. */
class Broken extends Error {}

/** A file to bring: its address, its place on the shelf, and what its manifest lists. */
export interface Wanted {
  readonly url: string;
  readonly listed: ListedFile;
  readonly shelf: Shelf;
  readonly signal: AbortSignal;
  /** Takes the number of bytes that are there. */
  progress(bytes: number): void;
}

/** Bytes of a file on the shelf: its name there is its SHA-256, so that bundles share equal files. */
export async function present({ listed, shelf }: Pick<Wanted, "listed" | "shelf">): Promise<number> {
  return Math.min((await shelf.size(listed.sha256)) ?? 0, listed.bytes);
}

export async function isWhole({ listed, shelf }: Pick<Wanted, "listed" | "shelf">): Promise<boolean> {
  return (await shelf.size(listed.sha256)) === listed.bytes;
}

/**
 * Brings a file onto the shelf, hashed while it is read.
 *
 * What an earlier try has left is not read again. A broken connection is taken up where it broke, some times; a failure
 * after bytes came begins the count anew. Raises PhantomError, and the signal's reason.
 */
export async function download(wanted: Wanted): Promise<void> {
  const { listed, shelf, signal } = wanted;
  const attempt = await Attempt.begin(wanted);
  const isFresh = attempt.filled === 0;
  let failures = 0;
  while (!(attempt.filled === listed.bytes && (await isWhole(wanted)))) {
    const before = attempt.filled;
    try {
      await attempt.goOn();
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof Broken)) throw error;
      failures = attempt.filled > before ? 1 : failures + 1;
      if (failures > MOST_FAILURES) throw noConnection(`${wanted.url} does not arrive (${error.message})`, error);
      await pause(FIRST_PAUSE_MS * 2 ** (failures - 1), signal);
    }
  }
  if (attempt.digest() === listed.sha256) return;
  await shelf.remove(listed.sha256);
  if (isFresh) throw damaged(`${wanted.url} is not the file that was exported: its SHA-256 differs`);
  await download(wanted); // an earlier try had left other bytes
}

export function noConnection(problem: string, cause?: unknown): PhantomError {
  return new PhantomError("no connection", problem, "check the connection and open it again: it goes on where it was", {
    cause,
  });
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal.addEventListener("abort", stop, { once: true });
  });
}

/** A file of which so many bytes are there, and their hash so far. */
class Attempt {
  private constructor(
    private readonly wanted: Wanted,
    private hasher: Hasher,
    public filled: number,
  ) {}

  /** What is on the shelf; a file that is too long is none. */
  static async begin(wanted: Wanted): Promise<Attempt> {
    const { shelf, listed, signal } = wanted;
    const size = (await shelf.size(listed.sha256)) ?? 0;
    const attempt = new Attempt(wanted, await Hasher.create(), size);
    if (size > listed.bytes) {
      await attempt.reset();
      return attempt;
    }
    for (let at = 0; at < size; at += BLOCK) {
      signal.throwIfAborted();
      attempt.hasher.update(await shelf.read(listed.sha256, at, Math.min(at + BLOCK, size)));
    }
    return attempt;
  }

  digest(): string {
    return this.hasher.digest();
  }

  /** Asks for the rest, and reads it; a server that sends no rest sends the whole. */
  async goOn(): Promise<void> {
    const response = await this.request();
    if (this.filled > 0 && !(response.status === 206 && startOf(response) === this.filled)) {
      await this.reset();
      if (response.status !== 200) {
        await response.body?.cancel();
        return;
      }
    }
    await this.take(response);
  }

  private async reset(): Promise<void> {
    await this.wanted.shelf.remove(this.wanted.listed.sha256);
    this.hasher = await Hasher.create();
    this.filled = 0;
  }

  private async request(): Promise<Response> {
    const { url, signal } = this.wanted;
    const headers = this.filled > 0 ? { Range: `bytes=${this.filled}-` } : undefined;
    let response: Response;
    try {
      response = await fetch(url, { signal, cache: "no-store", ...(headers && { headers }) });
    } catch (error) {
      throw new Broken(reasonOf(error), { cause: error });
    }
    if (response.ok || (response.status === 416 && this.filled > 0)) return response;
    await response.body?.cancel();
    if (response.status === 404 || response.status === 410) throw damaged(`${url} is missing`);
    const problem = `the server answers ${response.status}`;
    if (response.status >= 500 || response.status === 429) throw new Broken(problem);
    throw noConnection(`${url} does not arrive: ${problem}`);
  }

  private async take(response: Response): Promise<void> {
    const { listed, shelf } = this.wanted;
    const announced = announcedBytes(response, this.filled);
    if (announced !== undefined && announced !== listed.bytes) await this.refuse(response, announced);
    const reader = response.body?.getReader();
    let bytes: number;
    try {
      const writer = await shelf.extend(listed.sha256, listed.bytes);
      try {
        bytes = await this.copy(reader, writer);
      } finally {
        writer.close(); // an open file cannot be removed
      }
    } catch (error) {
      if (error instanceof DOMException && error.name === "QuotaExceededError") throw await this.full(error);
      throw error;
    } finally {
      await reader?.cancel().catch(() => undefined); // it is read to its end, or broke
    }
    if (bytes !== listed.bytes) await this.refuse(response, bytes);
  }

  /** Writes what arrives, up to the listed size; gives the bytes of the file. */
  private async copy(reader: ReadableStreamDefaultReader<Uint8Array> | undefined, writer: Writer): Promise<number> {
    const { listed, progress, signal } = this.wanted;
    while (reader) {
      const { value, done } = await reader.read().catch((error) => {
        throw new Broken(reasonOf(error), { cause: error });
      });
      signal.throwIfAborted();
      if (done) break;
      if (this.filled + value.length > listed.bytes) return this.filled + value.length;
      writer.append(value);
      this.hasher.update(value);
      this.filled += value.length;
      progress(this.filled);
    }
    return this.filled;
  }

  private async refuse(response: Response, bytes: number): Promise<never> {
    const { url, listed, shelf } = this.wanted;
    if (!response.body?.locked) await response.body?.cancel();
    await shelf.remove(listed.sha256);
    const about = bytes > listed.bytes ? "at least " : "";
    throw damaged(`${url} has ${about}${bytes} bytes, its manifest lists ${listed.bytes}`);
  }

  private async full(error: DOMException): Promise<PhantomError> {
    await this.wanted.shelf.remove(this.wanted.listed.sha256);
    return tooLarge("the storage that the browser gives this page is full", error);
  }
}

export function tooLarge(problem: string, cause?: unknown): PhantomError {
  const remedy = "delete other data of this site, or export it smaller: phantom-edge export --weights int4";
  return new PhantomError("too large", problem, remedy, { cause });
}

function startOf(response: Response): number | undefined {
  const found = /^bytes (\d+)-/.exec(response.headers.get("Content-Range") ?? "");
  return found ? Number(found[1]) : undefined;
}

/** Bytes of the whole file by the response's headers, undefined where they do not say. */
function announcedBytes({ status, headers }: Response, filled: number): number | undefined {
  if (headers.has("Content-Encoding")) return undefined;
  if (status === 206) {
    const total = /\/(\d+)$/.exec(headers.get("Content-Range") ?? "");
    return total ? Number(total[1]) : undefined;
  }
  const length = headers.get("Content-Length");
  return length === null ? undefined : filled + Number(length);
}
