import type { About, State } from "../lib/index.js";
import { PhantomError, removeStored } from "../lib/index.js";
import { Composer, type Draft } from "./composer.js";
import { announce, byId } from "./dom.js";
import { faultOf, note, type Way } from "./faults.js";
import { History } from "./history.js";
import { Model, type Status, type Wanted } from "./model.js";
import { prepareOffline } from "./offline.js";
import { keepEngine, Panel, wantedEngine } from "./panel.js";
import { SelfTest } from "./report.js";
import { pictureOf, readSite, type Sample, type Site } from "./site.js";
import { append, TurnView } from "./thread.js";
import { alone, figuresOf, type Turn, together } from "./turns.js";
import { showWelcome } from "./welcome.js";

const MEGA = 1e6;
const DELETED = note("the model's files were deleted from this browser", "to go on, load them again");

/** The page: a conversation with one bundle. */
class Page {
  private readonly turns: Turn[] = [];
  private readonly views: TurnView[] = [];
  private readonly model: Model;
  private readonly composer: Composer;
  private readonly panel: Panel;
  private readonly test = new SelfTest();
  private about: About | null = null;
  private wanted: Wanted = wantedEngine();
  private control: AbortController | null = null;
  private current: TurnView | null = null;

  constructor(
    private readonly site: Site,
    private readonly history: History | null,
    private readonly whyNotOffline: string | null,
  ) {
    byId("model-name").textContent = site.model;
    this.panel = new Panel(site);
    this.model = new Model(site.bundle, (status) => this.showStatus(status));
    this.model.onState = (state) => this.hear(state);
    this.composer = new Composer(
      (draft) => void this.ask(draft),
      () => this.control?.abort(),
    );
    showWelcome(
      site,
      (sample, question) => void this.askSample(sample, question),
      (sample) => void this.takeSample(sample),
    );
    byId("begin-anew").onclick = () => void this.beginAnew();
    byId("test").onclick = () => void this.test.run(() => this.model.opened());
    byId("remove").onclick = () => void this.removeKept();
    byId<HTMLSelectElement>("engine").onchange = (event) => {
      this.open((event.target as HTMLSelectElement).value as Wanted);
    };
  }

  async begin(): Promise<void> {
    for (const turn of (await this.history?.turns()) ?? []) {
      this.turns.push(turn);
      this.view(turn).end([this.again(turn)]);
    }
    this.showParts();
    this.open(this.wanted);
  }

  private open(wanted: Wanted): void {
    this.wanted = wanted;
    keepEngine(wanted);
    this.control?.abort();
    this.model.open(wanted);
  }

  private showStatus(status: Status): void {
    byId("loading").hidden = status.is !== "opening";
    byId("trouble").hidden = status.is !== "failed";
    this.about = status.is === "open" ? status.about : null;
    this.panel.show(this.about, this.wanted);
    if (status.is === "opening") showProgress(status.progress);
    if (status.is === "failed") byId("trouble").replaceChildren(faultOf(status.error, this.waysToOpen(status.error)));
    if (status.is === "open") announce(`${this.site.model} is ready`);
    void this.panel.showKept(this.whyNotOffline, status.is === "open");
  }

  private waysToOpen(error: unknown): Way[] {
    const fault = error instanceof PhantomError ? error.fault : "failed";
    const again = { text: "Try again", take: () => this.open(this.wanted) };
    const room = { text: "Delete kept files", take: () => void this.removeKept() };
    const other = { text: "Use WebAssembly", take: () => this.open("wasm") };
    if (fault === "too large") return [again, room];
    return this.wanted !== "wasm" && (fault === "failed" || fault === "unsupported") ? [again, other] : [again];
  }

  private view(turn: Turn): TurnView {
    const view = new TurnView(turn);
    this.views.push(view);
    append(view);
    return view;
  }

  private showParts(): void {
    byId("welcome").hidden = this.turns.length > 0;
    byId("begin-anew").hidden = this.turns.length === 0;
  }

  private async askSample(sample: Sample, question: string): Promise<void> {
    try {
      await this.ask({ question, pictures: [await pictureOf(sample)] });
    } catch (error) {
      this.composer.refuse(`${error instanceof Error ? error.message : error}`);
    }
  }

  private async takeSample(sample: Sample): Promise<void> {
    try {
      await this.composer.add([await pictureOf(sample)]);
    } catch (error) {
      this.composer.refuse(`${error instanceof Error ? error.message : error}`);
    }
  }

  /** Choices after a question that failed: another one, or the bundle anew where it runs no more. */
  private waysOn(error: unknown, turn: Turn): Way[] {
    const isOver = error instanceof PhantomError && (error.fault === "failed" || error.fault === "closed");
    const reload = { text: "Load the model again", take: () => this.open(this.wanted) };
    const anew = { text: "New conversation", take: () => void this.beginAnew() };
    return [this.again(turn), isOver ? reload : anew];
  }

  private again(turn: Turn): Way {
    return { text: "Write it again", take: () => void this.composer.write(turn) };
  }

  /** Asks a question, and shows its answer while it is written. */
  private async ask({ question, pictures }: Draft): Promise<void> {
    if (this.control !== null) return;
    const control = new AbortController();
    this.control = control;
    const earlier = [...this.turns];
    const turn: Turn = { id: (earlier.at(-1)?.id ?? 0) + 1, question, pictures, answer: "", figures: null };
    this.turns.push(turn);
    this.showParts();
    const view = this.view(turn);
    view.work("waiting");
    this.composer.busy = true;
    await this.keep(turn);
    try {
      await this.answer(earlier, turn, view, control.signal);
    } catch (error) {
      view.fail(error, this.waysOn(error, turn));
    } finally {
      this.current = null;
      this.control = null;
      this.composer.busy = false;
      await this.keep(turn);
    }
  }

  private async answer(earlier: readonly Turn[], turn: Turn, view: TurnView, signal: AbortSignal): Promise<void> {
    const phantom = await Promise.race([this.model.opened(), stoppedBy(signal)]);
    if (phantom === null) return view.end([this.again(turn)]);
    const { engine, imageMark } = phantom.about;
    this.current = view;
    const { messages, pictures } = (this.site.alone ? alone : together)(earlier, turn, imageMark);
    const answer = phantom.reply(messages, pictures, { signal });
    try {
      for await (const _ of answer) {
        turn.answer = answer.text;
        view.write();
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
    turn.answer = answer.text;
    if (answer.facts.ids.length > 0 || !signal.aborted) turn.figures = figuresOf(answer, engine);
    view.end([this.again(turn)]);
    if (turn.answer !== "") announce(`Answer: ${turn.answer}`);
  }

  private async keep(turn: Turn): Promise<void> {
    if (!this.turns.includes(turn)) return; // the conversation was ended
    try {
      await this.history?.keep(turn);
    } catch {
      this.composer.refuse("The browser's storage is full: this conversation is not kept. Delete kept files.");
    }
  }

  private async beginAnew(): Promise<void> {
    this.control?.abort();
    for (const one of this.views.splice(0)) one.remove();
    this.turns.length = 0;
    this.showParts();
    byId("question").focus();
    await this.history?.forget();
  }

  private async removeKept(): Promise<void> {
    this.control?.abort();
    this.model.close();
    await removeStored();
    const ways = [{ text: "Load it again", take: () => this.open(this.wanted) }];
    const trouble = byId("trouble");
    trouble.replaceChildren(faultOf(DELETED, ways));
    trouble.hidden = false;
    this.panel.toggle(false);
    await this.panel.showKept(this.whyNotOffline, false);
  }

  /** Takes what the bundle does. */
  private hear(state: State): void {
    this.test.hear(state);
    if (state.doing !== "nothing" && state.doing !== "testing") this.current?.work(state);
  }
}

/** Resolves with null once the signal is aborted. */
function stoppedBy(signal: AbortSignal): Promise<null> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(null);
    signal.addEventListener("abort", () => resolve(null), { once: true });
  });
}

function showProgress(progress: { stage: string; done: number; all: number } | null): void {
  const bar = byId<HTMLProgressElement>("loading-bar");
  const text = byId("loading-text");
  if (progress === null) {
    bar.removeAttribute("value");
    text.textContent = "Looking for the model";
  } else if (progress.stage === "download") {
    bar.value = progress.done / progress.all;
    const [done, all] = [progress.done, progress.all].map((bytes) => (bytes / MEGA).toFixed(1));
    text.textContent =
      progress.done < progress.all ? `Downloading the model: ${done} of ${all} MB` : "Checking the model";
  } else {
    bar.removeAttribute("value");
    text.textContent = "Starting the model";
  }
}

async function begin(): Promise<void> {
  try {
    const whyNotOffline = await prepareOffline();
    await new Page(await readSite(), await History.open(), whyNotOffline).begin();
  } catch (error) {
    byId("loading").hidden = true;
    const again = { text: "Load the page again", take: () => location.reload() };
    byId("trouble").replaceChildren(faultOf(error, [again]));
    byId("trouble").hidden = false;
  }
}

void begin();
