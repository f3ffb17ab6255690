import { type About, type EngineName, Phantom, type Progress, type State } from "../lib/index.js";

export type Wanted = EngineName | "best";

/** The state of the bundle that the page shows. */
export type Status =
  | { readonly is: "opening"; readonly progress: Progress | null }
  | { readonly is: "open"; readonly about: About }
  | { readonly is: "failed"; readonly error: unknown }
  | { readonly is: "closed" };

/** One bundle, opened with one engine at a time. */
export class Model {
  /** What the bundle does while it answers. */
  onState: (state: State) => void = () => undefined;
  private opening: Promise<Phantom> | null = null;
  private control = new AbortController();

  constructor(
    private readonly address: string,
    private readonly show: (status: Status) => void,
  ) {}

  /** Opens the bundle; one that is open is closed, and its questions end. */
  open(engine: Wanted): void {
    this.close();
    const control = new AbortController();
    this.control = control;
    const current = (status: Status) => {
      if (!control.signal.aborted) this.show(status);
    };
    current({ is: "opening", progress: null });
    const opening = Phantom.open(this.address, {
      engine,
      signal: control.signal,
      onProgress: (progress) => current({ is: "opening", progress }),
      onState: (state) => this.onState(state),
    });
    this.opening = opening;
    opening.then(
      (phantom) => {
        if (control.signal.aborted) phantom.close();
        else this.show({ is: "open", about: phantom.about });
      },
      (error) => current({ is: "failed", error }),
    );
  }

  /** The open bundle. Raises the error of its opening. */
  async opened(): Promise<Phantom> {
    if (this.opening === null) throw new Error("the bundle was closed");
    return this.opening;
  }

  close(): void {
    this.control.abort();
    this.opening?.then(
      (phantom) => phantom.close(),
      () => undefined, // it was shown
    );
    this.opening = null;
    this.show({ is: "closed" });
  }
}
