import { Answer } from "./answer.js";
import { closed, PhantomError } from "./errors.js";
import type { PictureSource } from "./images.js";
import type { About, OpenOptions, Progress } from "./opened.js";
import type { Port } from "./protocol.js";
import { Remote } from "./remote.js";
import type { Report } from "./self-test.js";
import type { State } from "./session.js";
import { completed, type Settings } from "./settings.js";
import { checkedAddress } from "./store.js";
import type { Message } from "./text.js";

/** Settings of an open bundle. */
export interface Options extends OpenOptions {
  /** Takes the progress of opening. */
  readonly onProgress?: (progress: Progress) => void;
  /** Takes what the bundle does, whenever that changes. */
  readonly onState?: (state: State) => void;
  /** Stops the opening; what was downloaded until then stays. */
  readonly signal?: AbortSignal;
  /** Makes the worker, where a bundler does not find the library's own. */
  readonly worker?: () => Worker;
}

/** Settings of a question. */
export interface AskOptions extends Settings {
  /** Stops the answer within one token; what was read until then stays in the cache. */
  readonly signal?: AbortSignal;
}

/**
 * An open bundle, with one conversation in its cache.
 *
 * Questions are answered one after the other, in a worker of their own.
 */
export class Phantom {
  private constructor(
    private readonly remote: Remote,
    /** Facts about the bundle, and the engine that runs it. */
    readonly about: About,
    private readonly show: (state: State) => void,
  ) {}

  /**
   * Opens the bundle in a folder of a server: brings its files into the origin's storage, compares each with the
   * bundle's manifest, and loads it. Raises PhantomError, and the reason of an aborted signal.
   */
  static async open(address: string | URL, options: Options = {}): Promise<Phantom> {
    const whole = checkedAddress(address, globalThis.location?.href ?? "");
    const make = options.worker ?? (() => new Worker(new URL("./worker.js", import.meta.url), { type: "module" }));
    options.signal?.throwIfAborted();
    const worker = make();
    const remote = new Remote(worker as unknown as Port, () => worker.terminate());
    worker.onerror = (event) => remote.fail(stopped(event.message));
    worker.onmessageerror = () => remote.fail(stopped("a message was not readable"));
    return Phantom.over(remote, whole, options);
  }

  /** Opens a bundle at the other end of a connection. */
  static async over(remote: Remote, address: string, options: Options = {}): Promise<Phantom> {
    const { onProgress, onState, signal, worker: _, ...rest } = options;
    try {
      const hear = (news: object) => {
        if ("progress" in news) onProgress?.(news.progress as Progress);
      };
      const about = await remote.call("open", { address, options: rest }, hear, signal);
      return new Phantom(remote, about, (state) => onState?.(state));
    } catch (error) {
      remote.close();
      throw error;
    }
  }

  /** Answers one question about pictures. */
  ask(question: string, pictures: readonly PictureSource[] = [], options: AskOptions = {}): Answer {
    return this.reply([{ role: "user", content: question }], pictures, options);
  }

  /**
   * Answers the last message of a conversation about pictures, those of earlier messages included.
   *
   * What the cache still holds of it is not computed again: give earlier answers as they were written.
   */
  reply(messages: readonly Message[], pictures: readonly PictureSource[] = [], options: AskOptions = {}): Answer {
    const { signal, ...settings } = options;
    completed(settings); // refused here, where the mistake is
    const takes = { messages, pictures: [...pictures], settings };
    return new Answer(this.remote, takes, this.show, signal);
  }

  /** Runs the bundle's golden questions, and compares every stage with the checkpoint's numbers. */
  async selfTest(signal?: AbortSignal): Promise<Report> {
    try {
      return await this.remote.call("selfTest", {}, (news) => "state" in news && this.show(news.state), signal);
    } finally {
      this.show({ doing: "nothing" });
    }
  }

  /** Empties the cache, and the memory of pictures. */
  async forget(): Promise<void> {
    await this.remote.call("forget", {});
  }

  /** Frees everything, at once; questions end with a PhantomError. */
  close(): void {
    this.remote.fail(closed());
    this.remote.close();
  }
}

function stopped(reason: string): PhantomError {
  return new PhantomError(
    "failed",
    `the worker of this library stopped (${reason || "its file was not found, or its memory ran out"})`,
    "open the bundle again; where it never opens, give the option worker",
  );
}
