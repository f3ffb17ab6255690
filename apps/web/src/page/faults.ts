import { PhantomError } from "../lib/index.js";
import { button, element } from "./dom.js";

/** A choice that a fault leaves. */
export interface Way {
  readonly text: string;
  take(): void;
}

/** A fault of this page itself. */
export function note(problem: string, remedy: string): PhantomError {
  return new PhantomError("failed", problem, remedy);
}

/** The fault and the remedy of an error, in words. */
export function wordsOf(error: unknown): { problem: string; remedy: string } {
  if (error instanceof PhantomError) return { problem: sentence(error.problem), remedy: sentence(error.remedy) };
  const text = error instanceof Error ? error.message || error.name : String(error);
  return { problem: sentence(text), remedy: "Load the page again." };
}

function sentence(text: string): string {
  const upper = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(upper) ? upper : `${upper}.`;
}

/** An error as an element: the fault, its remedy, and the choices. */
export function faultOf(error: unknown, ways: readonly Way[]): HTMLElement {
  const { problem, remedy } = wordsOf(error);
  const buttons = ways.map(({ text, take }) => button(text, "outlined", take));
  return element(
    "div",
    { className: "fault" },
    element("strong", {}, problem),
    element("span", {}, remedy),
    ...(buttons.length > 0 ? [element("div", { className: "fault-buttons" }, ...buttons)] : []),
  );
}
