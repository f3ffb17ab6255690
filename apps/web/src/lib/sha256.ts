import { createSHA256, type IHasher } from "hash-wasm";

/** SHA-256 of bytes that come in pieces. */
export class Hasher {
  private constructor(private readonly inner: IHasher) {}

  static async create(): Promise<Hasher> {
    const inner = await createSHA256();
    return new Hasher(inner.init());
  }

  update(bytes: Uint8Array): void {
    this.inner.update(bytes);
  }

  /** In hexadecimal; nothing may follow. */
  digest(): string {
    return this.inner.digest("hex");
  }
}

/** SHA-256 of bytes, in hexadecimal. */
export async function sha256(bytes: Uint8Array): Promise<string> {
  const found = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>));
  return Array.from(found, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
