import { type Fault, PhantomError } from "./errors.js";
import type { PictureSource } from "./images.js";
import type { About, OpenOptions, Progress } from "./opened.js";
import type { Report } from "./self-test.js";
import type { Facts, State } from "./session.js";
import type { Settings } from "./settings.js";
import type { Message } from "./text.js";

/** Calls of a worker, by their names: what they take, and what they give. */
export interface Calls {
  open: { takes: { address: string; options: OpenOptions }; gives: About };
  reply: {
    takes: { messages: readonly Message[]; pictures: readonly PictureSource[]; settings: Settings };
    gives: Facts;
  };
  selfTest: { takes: object; gives: Report };
  forget: { takes: object; gives: null };
}

export type CallName = keyof Calls;

/** A message to the worker: a call, or the end of one. */
export type Request =
  | { [N in CallName]: { readonly id: number; readonly call: N; readonly takes: Calls[N]["takes"] } }[CallName]
  | { readonly id: number; readonly call: "stop" };

/** News of a call that goes on. */
export type News =
  | { readonly progress: Progress }
  | { readonly state: State }
  | { readonly piece: string; readonly facts: Facts };

/** An error on its way between threads, which keep no classes. */
export type Sent =
  | { readonly fault: Fault; readonly problem: string; readonly remedy: string }
  | { readonly name: string; readonly message: string };

/** A message of the worker. */
export type Reply = { readonly id: number } & ({ news: News } | { result: unknown } | { error: Sent });

/** One end of a connection between threads: a worker, its own scope, or the port of a channel. */
export interface Port {
  postMessage(message: unknown): void;
  onmessage: ((event: MessageEvent) => void) | null;
}

export function sent(error: unknown): Sent {
  if (error instanceof PhantomError) {
    const { fault, problem, remedy } = error;
    return { fault, problem, remedy };
  }
  return error instanceof Error ? { name: error.name, message: error.message } : { name: "Error", message: `${error}` };
}

/** The error that was sent. */
export function received(error: Sent): Error {
  if ("fault" in error) return new PhantomError(error.fault, error.problem, error.remedy);
  return Object.assign(new Error(error.message), { name: error.name });
}
