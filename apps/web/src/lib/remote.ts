import { closed, PhantomError, reasonOf } from "./errors.js";
import { type CallName, type Calls, type News, type Port, type Reply, received } from "./protocol.js";

interface Pending {
  hear(news: News): void;
  resolve(result: unknown): void;
  reject(error: unknown): void;
}

/** The calls of a worker, from outside of it. */
export class Remote {
  private readonly pending = new Map<number, Pending>();
  private failure: Error | null = null;
  private last = 0;

  constructor(
    private readonly port: Port,
    private readonly end: () => void,
  ) {
    port.onmessage = ({ data }: MessageEvent<Reply>) => this.take(data);
  }

  private take(reply: Reply): void {
    const call = this.pending.get(reply.id);
    if (!call) return; // it was stopped
    if ("news" in reply) {
      call.hear(reply.news);
      return;
    }
    this.pending.delete(reply.id);
    if ("error" in reply) call.reject(received(reply.error));
    else call.resolve(reply.result);
  }

  /** Calls, and hears news of it. An aborted signal ends the call here at once, and there before the next step. */
  call<N extends CallName>(
    call: N,
    takes: Calls[N]["takes"],
    hear: (news: News) => void = () => undefined,
    signal?: AbortSignal,
  ): Promise<Calls[N]["gives"]> {
    return new Promise((resolve, reject) => {
      if (this.failure) throw this.failure;
      signal?.throwIfAborted();
      const id = ++this.last;
      const stop = () => {
        this.pending.delete(id);
        this.port.postMessage({ id, call: "stop" });
        reject(signal?.reason);
      };
      const done = () => signal?.removeEventListener("abort", stop);
      this.pending.set(id, {
        hear,
        resolve: (result) => {
          done();
          resolve(result as Calls[N]["gives"]);
        },
        reject: (error) => {
          done();
          reject(error);
        },
      });
      try {
        this.port.postMessage({ id, call, takes });
      } catch (error) {
        this.pending.delete(id);
        throw error instanceof DOMException && error.name === "DataCloneError" ? uncloned(error) : error;
      }
      signal?.addEventListener("abort", stop, { once: true });
    });
  }

  /** Ends all calls, those to come included. */
  fail(error: Error): void {
    this.failure ??= error;
    for (const one of this.pending.values()) one.reject(error);
    this.pending.clear();
  }

  close(): void {
    this.failure ??= closed();
    this.end();
  }
}

function uncloned(error: DOMException): PhantomError {
  const remedy = "give pictures as files, blobs, bytes, ImageData, or await createImageBitmap(element)";
  return new PhantomError("bad picture", `a picture cannot go to the worker (${reasonOf(error)})`, remedy, {
    cause: error,
  });
}
