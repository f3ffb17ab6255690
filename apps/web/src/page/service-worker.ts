/**
 * Keeps the page for times without a connection, and gives it the headers of an isolated one, which threads need.
 *
 * Files of a bundle are not its business: the library keeps these.
 */

/** Names that the build writes: files to keep at once, and all files of this version. */
const [SHELL, FILES] = ["__SHELL__".split(" "), "__FILES__".split(" ")] as const;
const CACHE = "phantom-page";
const ASSETS = "assets/";
const ISOLATED = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cross-Origin-Resource-Policy": "same-origin",
};

/** The part of a service worker's scope that TypeScript's types of pages lack. */
interface Happening extends Event {
  readonly request: Request;
  waitUntil(work: Promise<unknown>): void;
  respondWith(response: Promise<Response>): void;
}

interface Scope {
  readonly registration: ServiceWorkerRegistration;
  readonly clients: { claim(): Promise<void> };
  skipWaiting(): Promise<void>;
  addEventListener(name: "install" | "activate" | "fetch", listener: (event: Happening) => void): void;
}

const scope = self as unknown as Scope;
const home = new URL(scope.registration.scope);

function nameOf(url: string): string {
  return new URL(url).pathname.slice(home.pathname.length);
}

async function install(): Promise<void> {
  const cache = await caches.open(CACHE);
  await cache.addAll(SHELL.map((name) => new Request(new URL(name, home), { cache: "no-cache" })));
  await scope.skipWaiting();
}

/** Drops files of other versions, and takes the pages that are open. */
async function activate(): Promise<void> {
  const cache = await caches.open(CACHE);
  for (const request of await cache.keys()) {
    const name = nameOf(request.url);
    if (name.startsWith(ASSETS) && !FILES.includes(name)) await cache.delete(request);
  }
  await scope.clients.claim();
}

function isolated(response: Response): Response {
  if (response.status === 0 || response.status === 304) return response;
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(ISOLATED)) headers.set(name, value);
  const { status, statusText } = response;
  return new Response(response.body, { status, statusText, headers });
}

async function keep(cache: Cache, request: Request, response: Response): Promise<void> {
  try {
    await cache.put(request, response);
  } catch {
    await cache.delete(request); // the storage is full: the page goes on with a connection
  }
}

/** Files with a hash in their names come from the cache; others from the server, if it answers. */
async function answer(event: Happening): Promise<Response> {
  const { request } = event;
  const cache = await caches.open(CACHE);
  const kept = await cache.match(request, { ignoreSearch: true, ignoreVary: true });
  if (kept && nameOf(request.url).startsWith(ASSETS)) return isolated(kept);
  try {
    const response = await fetch(request);
    if (response.status === 200) event.waitUntil(keep(cache, request, response.clone()));
    if (response.ok || kept === undefined || response.status < 500) return isolated(response);
  } catch (error) {
    if (kept === undefined) throw error;
  }
  return isolated(kept);
}

function isOurs({ method, url, mode }: Request): boolean {
  if (method !== "GET" || new URL(url).origin !== home.origin) return false;
  const name = nameOf(url);
  return mode === "navigate" || FILES.includes(name) || name === "page.json" || name.startsWith("samples/");
}

scope.addEventListener("install", (event) => event.waitUntil(install()));
scope.addEventListener("activate", (event) => event.waitUntil(activate()));
scope.addEventListener("fetch", (event) => {
  if (isOurs(event.request)) event.respondWith(answer(event));
});
