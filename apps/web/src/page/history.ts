import type { Turn } from "./turns.js";

const [DATABASE, TURNS] = ["phantom-page", "turns"];

function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** The conversation in the browser's IndexedDB, pictures included. */
export class History {
  private constructor(private readonly database: IDBDatabase) {}

  /** Opens it; null where the browser keeps nothing, as in some private windows. */
  static async open(): Promise<History | null> {
    try {
      const request = indexedDB.open(DATABASE, 1);
      request.onupgradeneeded = () => request.result.createObjectStore(TURNS, { keyPath: "id" });
      return new History(await done(request));
    } catch (error) {
      if (error instanceof DOMException) return null;
      throw error;
    }
  }

  private store(mode: IDBTransactionMode): IDBObjectStore {
    return this.database.transaction(TURNS, mode).objectStore(TURNS);
  }

  /** All turns, in their order. */
  async turns(): Promise<Turn[]> {
    return done(this.store("readonly").getAll());
  }

  async keep(turn: Turn): Promise<void> {
    await done(this.store("readwrite").put(turn));
  }

  async forget(): Promise<void> {
    await done(this.store("readwrite").clear());
  }
}
