import { PhantomError } from "../lib/index.js";

/** A picture that the model knows, and questions about it. */
export interface Sample {
  readonly picture: string;
  readonly name: string;
  readonly questions: readonly string[];
}

/** `page.json` beside this page: the bundle that it opens, and what is said of it. */
export interface Site {
  readonly bundle: string;
  readonly model: string;
  readonly uses: string | null;
  readonly outOfScope: string | null;
  /** True for a model that was trained on single questions: it answers each without those before. */
  readonly alone: boolean;
  readonly samples: readonly Sample[];
}

const NAME = "page.json";
const SERVE = "serve this page by: phantom-edge demo web BUNDLE; or build its folder again: make web";

function isText(value: unknown): value is string {
  return typeof value === "string";
}

function isSample(value: Partial<Sample> | null): value is Sample {
  return (
    isText(value?.picture) &&
    isText(value.name) &&
    Array.isArray(value.questions) &&
    value.questions.length > 0 &&
    value.questions.every(isText)
  );
}

function isSite(value: Partial<Site> | null): value is Site {
  const isNote = (note: unknown) => note === null || isText(note);
  return (
    isText(value?.bundle) &&
    isText(value.model) &&
    isNote(value.uses) &&
    isNote(value.outOfScope) &&
    typeof value.alone === "boolean" &&
    Array.isArray(value.samples) &&
    value.samples.every(isSample)
  );
}

/** Reads page.json. Raises PhantomError. */
export async function readSite(): Promise<Site> {
  let response: Response;
  try {
    response = await fetch(`./${NAME}`, { cache: "no-cache" });
  } catch (cause) {
    const problem = "this page's server does not answer, and nothing was kept from an earlier visit";
    throw new PhantomError("no connection", problem, "check the connection and load the page again", { cause });
  }
  const site = response.ok ? await response.json().catch(() => null) : null;
  if (isSite(site)) return site;
  const said = response.ok ? "is another document" : `is missing (${response.status})`;
  throw new PhantomError("damaged bundle", `${NAME}, which names the bundle, ${said}`, SERVE);
}

/** The encoded picture of a sample. Raises PhantomError. */
export async function pictureOf(sample: Sample): Promise<Blob> {
  const response = await fetch(sample.picture).catch(() => null);
  if (response?.ok) return response.blob();
  throw new PhantomError("no connection", `${sample.name} does not arrive`, "check the connection and try again");
}
