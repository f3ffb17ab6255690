import { closed } from "./errors.js";
import { type PictureSource, readPicture } from "./images.js";
import { type Opened, openBundle } from "./opened.js";
import type { Pixels } from "./pixels.js";
import { type CallName, type Calls, type News, type Port, type Reply, type Request, sent } from "./protocol.js";
import { runSelfTest } from "./self-test.js";
import { noFacts } from "./session.js";
import { completed } from "./settings.js";

/** Answers the calls of a port, one after the other; a call that waits or goes on can be stopped. */
export function serve(port: Port): void {
  const stops = new Map<number, AbortController>();
  const post = (reply: Reply) => port.postMessage(reply);
  const server = new Server();
  let queue = Promise.resolve();

  async function run<N extends CallName>(id: number, call: N, takes: Calls[N]["takes"]): Promise<void> {
    const { signal } = stops.get(id)!;
    try {
      signal.throwIfAborted();
      const result = await server[call](takes as never, signal, (news) => post({ id, news }));
      post({ id, result });
    } catch (error) {
      post({ id, error: sent(error) });
    } finally {
      stops.delete(id);
    }
  }

  port.onmessage = ({ data }: MessageEvent<Request>) => {
    if (data.call === "stop") {
      stops.get(data.id)?.abort();
      return;
    }
    stops.set(data.id, new AbortController());
    const { id, call, takes } = data;
    queue = queue.then(() => run(id, call, takes));
  };
}

type Handler<N extends CallName> = (
  takes: Calls[N]["takes"],
  signal: AbortSignal,
  report: (news: News) => void,
) => Promise<Calls[N]["gives"]>;

/** The calls of one bundle. */
class Server implements Record<CallName, unknown> {
  private opened: Opened | null = null;

  private get bundle(): Opened {
    if (this.opened === null) throw closed();
    return this.opened;
  }

  readonly open: Handler<"open"> = async ({ address, options }, signal, report) => {
    this.opened = await openBundle(address, options, signal, (progress) => report({ progress }));
    return this.opened.about;
  };

  readonly reply: Handler<"reply"> = async ({ messages, pictures, settings }, signal, report) => {
    const { session } = this.bundle;
    const facts = noFacts();
    await session.answer(messages, await readAll(pictures), {
      settings: completed(settings),
      facts,
      signal,
      watch: { onState: (state) => report({ state }) },
      write: (piece) => report({ piece, facts }),
    });
    return facts;
  };

  readonly selfTest: Handler<"selfTest"> = (_, signal, report) =>
    runSelfTest(this.bundle, signal, (state) => report({ state }));

  readonly forget: Handler<"forget"> = async () => {
    this.bundle.session.forget();
    return null;
  };
}

async function readAll(sources: readonly PictureSource[]): Promise<Pixels[]> {
  const found: Pixels[] = [];
  for (const one of sources) found.push(await readPicture(one));
  return found;
}
