import type { Calls, News } from "./protocol.js";
import type { Remote } from "./remote.js";
import { type Facts, noFacts, type State } from "./session.js";

/** A piece of an answer: complete letters, never empty. */
export interface Piece {
  readonly text: string;
}

/**
 * An answer, to be read once: `for await (const piece of answer)`.
 *
 * The question is asked when the reading begins; leaving the loop stops the answer.
 */
export class Answer implements AsyncIterable<Piece> {
  /** What is known of the answer so far. */
  facts: Readonly<Facts> = noFacts();
  private readonly pieces: AsyncGenerator<Piece, void>;

  constructor(
    private readonly remote: Remote,
    private readonly takes: Calls["reply"]["takes"],
    private readonly show: (state: State) => void,
    private readonly signal?: AbortSignal,
  ) {
    this.pieces = this.read();
  }

  /** The text so far. */
  get text(): string {
    return this.facts.text;
  }

  /** Seconds to the first token: pictures and prompt. */
  get secondsToFirstToken(): number {
    return this.facts.visionSeconds + this.facts.prefillSeconds;
  }

  /** Speed of the tokens after the first; 0 where there is none. */
  get tokensPerSecond(): number {
    const { ids, decodeSeconds } = this.facts;
    return ids.length > 1 && decodeSeconds > 0 ? (ids.length - 1) / decodeSeconds : 0;
  }

  /** Reads the answer to its end, and gives its text. */
  async whole(): Promise<string> {
    for await (const _ of this);
    return this.text;
  }

  [Symbol.asyncIterator](): AsyncGenerator<Piece, void> {
    return this.pieces;
  }

  private async *read(): AsyncGenerator<Piece, void> {
    const arrived: Piece[] = [];
    const own = new AbortController();
    let wake: () => void = () => undefined;
    const hear = (news: News) => {
      if ("state" in news) this.show(news.state);
      if (!("piece" in news)) return;
      this.facts = news.facts;
      arrived.push({ text: news.piece });
      wake();
    };
    const signal = this.signal ? AbortSignal.any([this.signal, own.signal]) : own.signal;
    let isDone = false;
    const call = this.remote.call("reply", this.takes, hear, signal).finally(() => {
      isDone = true;
      wake();
    });
    call.catch(() => undefined); // awaited below, once all pieces are read
    try {
      while (true) {
        while (arrived.length > 0) yield arrived.shift()!;
        if (isDone) break;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      this.facts = await call;
    } finally {
      own.abort();
      this.show({ doing: "nothing" });
    }
  }
}
