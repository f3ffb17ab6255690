import type { State } from "../lib/index.js";
import { button, byId, element } from "./dom.js";
import { faultOf, type Way } from "./faults.js";
import { spoken, type Turn } from "./turns.js";

/** How near to the end of the page a reader follows a growing answer, in pixels. */
const NEAR = 160;

/** What the bundle does, in words. */
function doing(state: State): string {
  if (state.doing === "seeing") {
    return state.all > 1 ? `Looking at tile ${state.done + 1} of ${state.all}` : "Looking at the picture";
  }
  if (state.doing === "reading") return "Reading the question";
  return "Writing";
}

/** One turn on the page. */
export class TurnView {
  readonly item = element("li", { className: "turn" });
  private readonly answer = element("p", { className: "answer" });
  private readonly below = element("div", { className: "answered" });
  private readonly addresses: string[] = [];
  private frame = 0;

  constructor(private readonly turn: Turn) {
    const pictures = turn.pictures.map((one, at) => {
      const src = URL.createObjectURL(one);
      this.addresses.push(src);
      return element("img", { src, alt: turn.pictures.length > 1 ? `Picture ${at + 1}` : "Picture" });
    });
    const shown = pictures.length > 0 ? [element("div", { className: "shown" }, ...pictures)] : [];
    const question = element("p", {}, element("span", { className: "unseen" }, "You asked: "), turn.question);
    this.item.append(element("div", { className: "asked" }, ...shown, question), this.below);
  }

  /** Shows that the bundle is at work, and the answer so far. */
  work(state: State | "waiting"): void {
    const text = state === "waiting" ? "Waiting for the model" : doing(state);
    const line = this.below.querySelector(".doing");
    if (line === null) this.below.replaceChildren(this.answer, element("p", { className: "doing" }, text));
    else if (line.textContent !== text) line.textContent = text;
  }

  /** Shows the answer so far, once for each frame of the screen. */
  write(): void {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      following(() => {
        this.answer.textContent = this.turn.answer;
      });
    });
  }

  /** Shows a turn that goes on no more. */
  end(ways: readonly Way[] = []): void {
    const { answer, figures } = this.turn;
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    if (figures === null && answer === "") {
      const buttons = ways.map(({ text, take }) => button(text, "outlined", take));
      const said = element("p", { className: "figures" }, "Stopped before an answer began.");
      following(() => this.below.replaceChildren(said, element("div", { className: "fault-buttons" }, ...buttons)));
      return;
    }
    this.answer.textContent = answer || "(an empty answer)";
    const said = figures === null ? "the page was left before the answer ended" : spoken(figures);
    following(() => this.below.replaceChildren(this.answer, element("p", { className: "figures" }, said)));
  }

  fail(error: unknown, ways: readonly Way[]): void {
    following(() => this.below.replaceChildren(faultOf(error, ways)));
  }

  remove(): void {
    cancelAnimationFrame(this.frame);
    for (const one of this.addresses) URL.revokeObjectURL(one);
    this.item.remove();
  }
}

/** Changes the page, and stays at its end where the reader was there. */
function following(change: () => void): void {
  const main = byId("thread").parentElement!;
  const isNear = main.scrollHeight - main.scrollTop - main.clientHeight < NEAR;
  change();
  if (isNear) main.scrollTop = main.scrollHeight;
}

/** Shows a new turn at the end of the page, and goes there: at once, and when its pictures have their height. */
export function append(view: TurnView): void {
  const thread = byId("thread");
  thread.append(view.item);
  const main = thread.parentElement!;
  const goToEnd = () => {
    main.scrollTop = main.scrollHeight;
  };
  goToEnd();
  for (const picture of view.item.querySelectorAll("img")) picture.onload = goToEnd;
}
