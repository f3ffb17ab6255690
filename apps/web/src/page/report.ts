import type { Finding, Phantom, Report, State } from "../lib/index.js";
import { byId, element } from "./dom.js";
import { wordsOf } from "./faults.js";

/** The dialog of the self-test, which runs while it is open. */
export class SelfTest {
  private readonly dialog = byId<HTMLDialogElement>("report");
  private readonly bar = byId<HTMLProgressElement>("report-bar");
  private readonly findings = byId("findings");
  private control = new AbortController();

  constructor() {
    byId("report-close").onclick = () => this.dialog.close();
    this.dialog.onclose = () => this.control.abort();
  }

  get isOpen(): boolean {
    return this.dialog.open;
  }

  /** Takes what the bundle does. */
  hear(state: State): void {
    if (!this.isOpen || state.doing !== "testing") return;
    this.bar.value = state.done / state.all;
    this.say(`Question ${state.done + 1} of ${state.all}`);
  }

  async run(opened: () => Promise<Phantom>): Promise<void> {
    this.control = new AbortController();
    const { signal } = this.control;
    this.findings.hidden = true;
    this.bar.hidden = false;
    this.bar.removeAttribute("value");
    this.say("Waiting for the model");
    this.dialog.showModal();
    try {
      this.show(await (await opened()).selfTest(signal));
    } catch (error) {
      if (signal.aborted) return;
      const { problem, remedy } = wordsOf(error);
      this.say(`${problem} ${remedy}`, "is-bad");
    }
    this.bar.hidden = true;
  }

  private say(text: string, className = ""): void {
    const verdict = byId("verdict");
    verdict.className = `verdict ${className}`;
    if (verdict.textContent !== text) verdict.textContent = text;
  }

  private show({ passed, findings, leftOut }: Report): void {
    const good = findings.filter((one) => one.passed).length;
    const rest = leftOut.length > 0 ? ` Left out, for want of context: ${leftOut.join(", ")}.` : "";
    const said = passed
      ? `Passed: all ${findings.length} comparisons agree with the checkpoint.`
      : `Failed: ${findings.length - good} of ${findings.length} comparisons differ. Do not trust answers of this engine.`;
    this.say(said + rest, passed ? "is-good" : "is-bad");
    const heads = ["comparison", "expected", "found"].map((text) => element("th", { scope: "col" }, text));
    const ordered = [...findings].sort((one, other) => Number(one.passed) - Number(other.passed));
    const table = element(
      "table",
      {},
      element("thead", {}, element("tr", {}, ...heads)),
      element("tbody", {}, ...ordered.map(row)),
    );
    this.findings.replaceChildren(table);
    this.findings.hidden = false;
    this.findings.tabIndex = 0; // it scrolls
  }
}

function row({ name, expected, found, passed }: Finding): HTMLTableRowElement {
  const className = passed ? "" : "is-bad";
  const head = element("th", { scope: "row" }, passed ? name : `${name} differs`);
  return element("tr", { className }, head, element("td", {}, expected), element("td", {}, found));
}
