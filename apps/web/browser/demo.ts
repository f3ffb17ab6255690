import { type ChildProcess, spawn } from "node:child_process";

function given(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not given; tests/test_web_page.py does`);
  return value;
}

/** A question, its picture's path, and Python's answer. */
export interface Known {
  readonly picture: string;
  readonly question: string;
  readonly answer: string;
}

export const KNOWN: readonly Known[] = JSON.parse(given("PHANTOM_KNOWN"));

/** A server as a process of its own. */
export class Server {
  private constructor(
    readonly address: string,
    private readonly process: ChildProcess,
  ) {}

  /** Starts the command in a variable, a list of words in JSON, which prints its address. */
  static start(variable: string, ...more: string[]): Promise<Server> {
    const [program, ...words]: string[] = JSON.parse(given(variable));
    const child = spawn(program!, [...words, ...more], { stdio: ["ignore", "pipe", "pipe"] });
    return new Promise((resolve, reject) => {
      let said = "";
      const hear = (piece: Buffer) => {
        said += piece;
        const address = /http:\/\/\S+:\d+\//.exec(said)?.[0];
        if (address !== undefined) resolve(new Server(address, child));
      };
      child.stdout.on("data", hear);
      child.stderr.on("data", hear);
      child.on("exit", () => reject(new Error(`the server ended: ${said}`)));
    });
  }

  get port(): string {
    return new URL(this.address).port;
  }

  /** Ends it, so that nothing answers at its address. */
  async end(): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const ended = new Promise((resolve) => this.process.once("exit", resolve));
    this.process.kill("SIGTERM");
    await ended;
  }
}
