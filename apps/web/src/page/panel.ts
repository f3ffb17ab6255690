import type { About } from "../lib/index.js";
import { byId, element } from "./dom.js";
import type { Wanted } from "./model.js";
import type { Site } from "./site.js";
import { ENGINES } from "./turns.js";

const MEGA = 1e6;
const ENGINE = "engine";

/** The engine that was chosen at an earlier visit. */
export function wantedEngine(): Wanted {
  const kept = localStorage.getItem(ENGINE);
  return kept === "wasm" || kept === "webgpu" ? kept : "best";
}

export function keepEngine(wanted: Wanted): void {
  localStorage.setItem(ENGINE, wanted);
  byId<HTMLSelectElement>("engine").value = wanted;
}

/** The panel of facts: beside the conversation, or over it on a small screen. */
export class Panel {
  private readonly panel = byId("panel");
  private readonly button = byId<HTMLButtonElement>("panel-button");

  constructor(private readonly site: Site) {
    const { uses } = site;
    byId("uses").hidden = uses === null;
    byId("uses").textContent = uses;
    this.button.onclick = () => this.toggle(!this.panel.classList.contains("is-open"));
    document.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.panel.classList.contains("is-open")) return;
      this.toggle(false);
      this.button.focus();
    });
  }

  toggle(isOpen: boolean): void {
    this.panel.classList.toggle("is-open", isOpen);
    this.button.ariaExpanded = `${isOpen}`;
    this.button.textContent = isOpen ? "Close" : "About";
  }

  /** Facts about the bundle, null while none is open. */
  show(about: About | null, wanted: Wanted): void {
    const rows: [string, string][] = about === null ? [] : factsOf(about, this.site.alone);
    const cells = rows.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]);
    byId("facts").replaceChildren(...cells);
    byId("engine-why").textContent = about === null ? "" : whyOf(about, wanted);
  }

  /** Shows the storage in use, and whether the page answers without a connection. */
  async showKept(whyNotOffline: string | null, isOpen: boolean): Promise<void> {
    const { usage } = (await navigator.storage?.estimate()) ?? {};
    const used = usage === undefined ? "" : `${(usage / MEGA).toFixed(0)} MB are kept in this browser. `;
    const offline = isOpen
      ? "The page works without a connection."
      : "Without a connection it works once a model was loaded.";
    byId("kept").textContent = used + (whyNotOffline === null ? offline : `It needs a connection: ${whyNotOffline}.`);
  }
}

function factsOf(about: About, alone: boolean): [string, string][] {
  const threads = about.engine === "wasm" ? [["Threads", threadsOf(about)] as [string, string]] : [];
  return [
    ["Model", about.model],
    ["In use", ENGINES[about.engine]],
    ...threads,
    ["Memory, at least", `${Math.ceil(about.leastMemory / MEGA)} MB`],
    ["Context", `${about.maxContext.toLocaleString("en")} tokens`],
    ["Questions", alone ? "each by itself, about the latest pictures" : "with those before them"],
  ];
}

function threadsOf({ threads }: About): string {
  return crossOriginIsolated ? `${threads}` : `${threads} (the page is not isolated)`;
}

/** Why this engine is in use, and the other is not. */
function whyOf({ engine, whyNoWebGpu }: About, wanted: Wanted): string {
  if (engine === "webgpu") return "WebAssembly is not in use: WebGPU runs this bundle here.";
  if (whyNoWebGpu !== null) return `WebGPU is not in use: ${whyNoWebGpu}.`;
  return wanted === "wasm" ? "WebGPU is not in use: WebAssembly was chosen." : "";
}
