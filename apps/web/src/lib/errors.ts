/** The kind of an error: what is at fault. */
export type Fault =
  /** A bundle whose files are absent, damaged, or contradict each other. */
  | "damaged bundle"
  /** A bundle that is not signed with the key that was given. */
  | "untrusted"
  /** A bundle, a part of one, or a browser, with which this library cannot answer exactly. */
  | "unsupported"
  /** A bundle that needs more memory or storage than there is. */
  | "too large"
  /** A bundle that the network does not bring. */
  | "no connection"
  /** A picture that cannot be read. */
  | "bad picture"
  /** A question, a conversation or a setting that no answer can follow. */
  | "bad question"
  /** A failure of ONNX Runtime, or numbers that are none. */
  | "failed"
  /** The use of a closed Phantom. */
  | "closed";

/** An error that a developer or a user can correct. */
export class PhantomError extends Error {
  override readonly name = "PhantomError";

  constructor(
    readonly fault: Fault,
    /** The fault in one line. */
    readonly problem: string,
    /** A choice to make, or a command to paste. */
    readonly remedy: string,
    options?: ErrorOptions,
  ) {
    super(`${problem}\n  ${remedy}`, options);
  }
}

export const EXPORT_AGAIN = "export it again: phantom-edge export";

export function damaged(problem: string, remedy = EXPORT_AGAIN, cause?: unknown): PhantomError {
  return new PhantomError("damaged bundle", problem, remedy, { cause });
}

export function closed(): PhantomError {
  return new PhantomError("closed", "this Phantom is closed", "open the bundle again: Phantom.open(address)");
}

/** An error's message in one line. */
export function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message || error.name : String(error);
  return text.split(/\s+/).filter(Boolean).join(" ").slice(0, 200);
}
