import { PhantomError, reasonOf } from "./errors.js";

/** Files by their names, in a place that lasts or not. */
export interface Shelf {
  /** Names of all files. */
  names(): Promise<string[]>;
  /** Bytes of a file, undefined where there is none. */
  size(name: string): Promise<number | undefined>;
  /** The bytes from `start` up to `end`. */
  read(name: string, start: number, end: number): Promise<Uint8Array>;
  /** Opens a file, which will have so many bytes, to write behind those that it has. */
  extend(name: string, bytes: number): Promise<Writer>;
  remove(name: string): Promise<void>;
  /** Bytes that may still be written, undefined where that is not known. */
  room(): Promise<number | undefined>;
  /** Does work while no other page or worker does work on the same shelf. */
  exclusively<T>(work: () => Promise<T>): Promise<T>;
}

/** An open file. What was written stays, also where the page is closed in the middle. */
export interface Writer {
  append(bytes: Uint8Array): void;
  close(): void;
}

/** Files in memory, gone with the page. */
export class MemoryShelf implements Shelf {
  private readonly files = new Map<string, { bytes: Uint8Array; filled: number }>();

  async names(): Promise<string[]> {
    return [...this.files.keys()];
  }

  async size(name: string): Promise<number | undefined> {
    return this.files.get(name)?.filled;
  }

  async read(name: string, start: number, end: number): Promise<Uint8Array> {
    return this.files.get(name)!.bytes.subarray(start, end);
  }

  async extend(name: string, bytes: number): Promise<Writer> {
    const file = this.files.get(name) ?? { bytes: new Uint8Array(bytes), filled: 0 };
    this.files.set(name, file);
    return {
      append: (more) => {
        file.bytes.set(more, file.filled);
        file.filled += more.length;
      },
      close: () => undefined,
    };
  }

  async remove(name: string): Promise<void> {
    this.files.delete(name);
  }

  async room(): Promise<undefined> {
    return undefined;
  }

  exclusively<T>(work: () => Promise<T>): Promise<T> {
    return work();
  }
}

/** The part of a file's access in a worker that TypeScript's types of pages lack. */
interface Access {
  getSize(): number;
  write(bytes: Uint8Array, options: { at: number }): number;
  flush(): void;
  close(): void;
}

const FOLDER = "phantom-edge";

/** Files in the storage of the page's origin (OPFS), of a worker. */
export class OriginShelf implements Shelf {
  private constructor(private readonly folder: FileSystemDirectoryHandle) {}

  static async open(): Promise<OriginShelf> {
    try {
      const root = await navigator.storage.getDirectory();
      return new OriginShelf(await root.getDirectoryHandle(FOLDER, { create: true }));
    } catch (error) {
      throw new PhantomError(
        "unsupported",
        `the browser gives this page no storage (${reasonOf(error)})`,
        'serve the page by https or from localhost, in no private window, or give the option storage: "memory"',
        { cause: error },
      );
    }
  }

  async names(): Promise<string[]> {
    const found: string[] = [];
    for await (const name of this.folder.keys()) found.push(name);
    return found;
  }

  private async file(name: string): Promise<File | undefined> {
    try {
      return await (await this.folder.getFileHandle(name)).getFile();
    } catch (error) {
      if (error instanceof DOMException && error.name === "NotFoundError") return undefined;
      throw error;
    }
  }

  async size(name: string): Promise<number | undefined> {
    return (await this.file(name))?.size;
  }

  async read(name: string, start: number, end: number): Promise<Uint8Array> {
    const file = await this.file(name);
    return new Uint8Array(await file!.slice(start, end).arrayBuffer());
  }

  async extend(name: string): Promise<Writer> {
    const handle = await this.folder.getFileHandle(name, { create: true });
    const access: Access = await (
      handle as unknown as { createSyncAccessHandle(): Promise<Access> }
    ).createSyncAccessHandle();
    let at = access.getSize();
    return {
      append: (more) => {
        const written = access.write(more, { at });
        // Where the storage is full, Chromium gives a number of an error, as large as that is.
        if (written !== more.length) throw new DOMException("the storage is full", "QuotaExceededError");
        at += written;
      },
      close: () => {
        try {
          access.flush();
        } finally {
          access.close();
        }
      },
    };
  }

  async remove(name: string): Promise<void> {
    try {
      await this.folder.removeEntry(name);
    } catch (error) {
      if (!(error instanceof DOMException && error.name === "NotFoundError")) throw error;
    }
  }

  async room(): Promise<number | undefined> {
    const { quota, usage } = await navigator.storage.estimate();
    return quota === undefined ? undefined : quota - (usage ?? 0);
  }

  exclusively<T>(work: () => Promise<T>): Promise<T> {
    return navigator.locks.request(FOLDER, work) as Promise<T>;
  }
}

/** Deletes all bundles that were kept in the storage of the page's origin. */
export async function removeStored(): Promise<void> {
  const shelf = await OriginShelf.open();
  await shelf.exclusively(async () => {
    for (const name of await shelf.names()) await shelf.remove(name);
  });
}
