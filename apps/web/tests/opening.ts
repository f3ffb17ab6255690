import { type Options, Phantom } from "../src/lib/phantom.js";
import { Remote } from "../src/lib/remote.js";
import { serve } from "../src/lib/serve.js";
import { MADE } from "./conformance.js";
import { type Serving, served } from "./server.js";

/** Opens a bundle from a server, over the worker's own messages: the port of a channel stands for the thread. */
export async function opened(serving: Serving, options: Options = {}): Promise<Phantom> {
  const server = await served(serving);
  try {
    return await connected(server.address, options);
  } finally {
    await server.close();
  }
}

/** Opens a bundle of the conformance data. */
export function openedForm(form: string, options: Options = {}): Promise<Phantom> {
  return opened({ folders: [`${MADE}/bundles/${form}`] }, options);
}

export function connected(address: string, options: Options = {}): Promise<Phantom> {
  const { port1, port2 } = new MessageChannel();
  serve(port2);
  const remote = new Remote(port1, () => port1.close());
  return Phantom.over(remote, address, { storage: "memory", engine: "wasm", ...options });
}
