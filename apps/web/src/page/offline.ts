const PATIENCE_MS = 10_000;
const RELOADED = "reloaded for isolation";

/** Why this page does not work without a connection, null where it does. */
export async function prepareOffline(): Promise<string | null> {
  if (import.meta.env.DEV) return "this is a development server";
  if (!("serviceWorker" in navigator)) return "the browser has no service worker for this page";
  try {
    const registration = await navigator.serviceWorker.register("./service-worker.js");
    if (registration.active === null) await controlled();
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  await isolated();
  return navigator.serviceWorker.controller === null ? "the page was loaded past its service worker" : null;
}

/** Waits for the first service worker, so that it keeps the files that are loaded from now on. */
function controlled(): Promise<void> {
  return new Promise((resolve) => {
    if (navigator.serviceWorker.controller !== null) return resolve();
    navigator.serviceWorker.addEventListener("controllerchange", () => resolve(), { once: true });
    setTimeout(resolve, PATIENCE_MS);
  });
}

/** Loads the page once more where the service worker's headers can isolate it, which gives it threads. */
async function isolated(): Promise<void> {
  if (crossOriginIsolated || navigator.serviceWorker.controller === null) return;
  if (sessionStorage.getItem(RELOADED) !== null) return; // it does not help here
  sessionStorage.setItem(RELOADED, "yes");
  location.reload();
  await new Promise(() => undefined);
}
