import { button, byId, element } from "./dom.js";
import type { Sample, Site } from "./site.js";

/** The page before the first question: what the model is, and pictures that it knows. */
export function showWelcome(
  { samples, uses, outOfScope }: Site,
  asked: (sample: Sample, question: string) => void,
  chosen: (sample: Sample) => void,
): void {
  const caution = byId("caution");
  const notes = [
    ["Made for: ", uses],
    ["Not for: ", outOfScope],
  ] as const;
  const said = notes.flatMap(([head, text]) =>
    text === null ? [] : [element("p", {}, element("strong", {}, head), text)],
  );
  caution.replaceChildren(...said);
  caution.hidden = said.length === 0;
  byId("samples").replaceChildren(...samples.map((one) => card(one, asked, chosen)));
  byId("samples-part").hidden = samples.length === 0;
}

function card(
  sample: Sample,
  asked: (sample: Sample, question: string) => void,
  chosen: (sample: Sample) => void,
): HTMLLIElement {
  const picture = element(
    "button",
    { type: "button", className: "sample-picture", onclick: () => chosen(sample) },
    element("img", { src: sample.picture, alt: `Add ${sample.name} to the question`, loading: "lazy" }),
  );
  const questions = sample.questions.map((one) => button(one, "chip", () => asked(sample, one)));
  return element("li", { className: "sample" }, picture, ...questions);
}
