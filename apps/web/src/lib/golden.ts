import { damaged, EXPORT_AGAIN, PhantomError } from "./errors.js";
import { type Fields, Node, Numeral, parseJson, strictText, WrongJson } from "./json.js";
import type { Manifest } from "./manifest.js";
import type { End } from "./session.js";

/** Both ends of a row of numbers. */
export interface GoldenRow {
  readonly row: number;
  readonly first: readonly number[];
  readonly last: readonly number[];
}

export interface GoldenPicture {
  readonly file: string;
  readonly width: number;
  readonly height: number;
  readonly grid: readonly number[];
  readonly tiles: readonly string[];
  readonly imageTokens: readonly GoldenRow[];
  readonly column: readonly number[];
  readonly largest: number;
}

/** Logits of a choice; `choice` is null where it may differ between right programs. */
export interface GoldenStep {
  readonly ids: readonly number[];
  readonly values: readonly number[];
  readonly choice: number | null;
}

export interface GoldenQuestion {
  readonly name: string;
  readonly question: string;
  readonly pictures: readonly number[];
  readonly prompt: string;
  readonly ids: readonly number[];
  readonly reused: number;
  readonly maxNewTokens: number;
  readonly steps: readonly GoldenStep[];
  readonly largest: number;
  readonly answer: {
    readonly ids: readonly number[];
    readonly pieces: readonly string[];
    readonly text: string;
    readonly stoppedBy: End;
  };
}

/** `golden.json`: questions about pictures and the checkpoint's own numbers. */
export interface Golden {
  readonly pictures: readonly GoldenPicture[];
  readonly embeddings: readonly GoldenRow[];
  readonly questions: readonly GoldenQuestion[];
  readonly bounds: { readonly embeddings: number; readonly imageTokens: number; readonly logits: number };
  readonly leftOut: readonly string[];
}

/** Reads the golden numbers of a bundle. Raises PhantomError where they are damaged. */
export function readGolden(bytes: Uint8Array, file: string, manifest: Manifest): Golden {
  try {
    const found = new Node("", parseJson(strictText(bytes))).fields(golden);
    const problem = contradiction(found, manifest);
    if (problem) throw new WrongJson(problem);
    return found;
  } catch (error) {
    if (error instanceof WrongJson) throw damaged(`${file}: ${error.message}`, EXPORT_AGAIN, error);
    throw error;
  }
}

export function noGolden(): PhantomError {
  return new PhantomError(
    "unsupported",
    "the bundle has no golden files: it was made before bundles had them",
    EXPORT_AGAIN,
  );
}

function golden(fields: Fields): Golden {
  const format = fields.get("format").value;
  if (!(format instanceof Numeral) || format.text !== "1") throw new WrongJson("format is not 1");
  return {
    pictures: fields
      .get("pictures")
      .list()
      .map((one) => one.fields(picture)),
    embeddings: fields
      .get("embeddings")
      .list()
      .map((one) => one.fields(row)),
    questions: fields
      .get("questions")
      .list()
      .map((one) => one.fields(question)),
    bounds: fields.get("tolerances").fields(bounds),
    leftOut: fields.get("left_out").strings(),
  };
}

function bounds(fields: Fields): Golden["bounds"] {
  const bound = (name: string) => {
    const found = fields.get(name).number();
    fields.rules({ [name]: found > 0 && found < 1 });
    return found;
  };
  return { embeddings: bound("embeddings"), imageTokens: bound("image_tokens"), logits: bound("logits") };
}

function row(fields: Fields): GoldenRow {
  return {
    row: fields.get("row").int(),
    first: fields.get("first").numbers(),
    last: fields.get("last").numbers(),
  };
}

function picture(fields: Fields): GoldenPicture {
  const found = {
    file: fields.get("file").string(),
    width: fields.get("width").int(),
    height: fields.get("height").int(),
    grid: fields.get("grid").ints(),
    tiles: fields.get("tiles").strings(),
    imageTokens: fields
      .get("image_tokens")
      .list()
      .map((one) => one.fields(row)),
    column: fields.get("column").numbers(),
    largest: fields.get("largest").number(),
  };
  fields.rules({
    size: found.width > 0 && found.height > 0,
    grid: found.grid.length === 2 && found.grid.every((one) => one > 0),
    tiles: found.tiles.length > 0,
    largest: found.largest > 0,
  });
  return found;
}

function step(fields: Fields): GoldenStep {
  const found = {
    ids: fields.get("ids").ints(),
    values: fields.get("values").numbers(),
    choice: fields.get("choice").orNull((one) => one.int()),
  };
  fields.rules({ values: found.ids.length > 0 && found.ids.length === found.values.length });
  return found;
}

function question(fields: Fields): GoldenQuestion {
  const found = {
    name: fields.get("name").string(),
    question: fields.get("question").string(),
    pictures: fields.get("pictures").ints(),
    prompt: fields.get("prompt").string(),
    ids: fields.get("ids").ints(),
    reused: fields.get("reused").int(),
    maxNewTokens: fields.get("max_new_tokens").int(),
    steps: fields
      .get("steps")
      .list()
      .map((one) => one.fields(step)),
    largest: fields.get("largest").number(),
    answer: fields.get("answer").fields((answer) => ({
      ids: answer.get("ids").ints(),
      pieces: answer.get("pieces").strings(),
      text: answer.get("text").string(),
      stoppedBy: answer.get("stopped_by").oneOf("end of turn", "length", "context"),
    })),
  };
  const { answer, steps, maxNewTokens } = found;
  const wanted = answer.ids.length + (answer.stoppedBy === "end of turn" ? 1 : 0);
  fields.rules({
    reused: found.reused >= 0 && found.reused < found.ids.length,
    max_new_tokens: maxNewTokens > 0,
    steps: steps.length > 0 && steps.length === wanted && wanted <= maxNewTokens,
    largest: found.largest > 0,
    pieces: answer.pieces.join("") === answer.text,
  });
  return found;
}

/** The problem of golden numbers that do not fit the manifest. */
function contradiction({ pictures, questions, embeddings }: Golden, manifest: Manifest): string | undefined {
  const { model, cache, files } = manifest;
  for (const [number, one] of pictures.entries()) {
    const count = one.tiles.length * manifest.pictures.tokensPerTile;
    if (!files.has(one.file)) return `pictures[${number}].file is no file of the bundle`;
    if (one.column.length !== count || one.imageTokens.some((token) => token.row < 0 || token.row >= count)) {
      return `pictures[${number}] has rows that are not among its ${count} image tokens`;
    }
  }
  for (const [number, one] of questions.entries()) {
    if (one.pictures.some((place) => !(place in pictures))) {
      return `questions[${number}].pictures names a picture that is not there`;
    }
    if (one.ids.length >= cache.maxContext) return `questions[${number}].ids has more tokens than the cache`;
  }
  const tokens = [
    ...embeddings.map((one) => one.row),
    ...questions.flatMap((one) => [...one.ids, ...one.answer.ids, ...one.steps.flatMap((inner) => inner.ids)]),
  ];
  const beyond = tokens.find((id) => id < 0 || id >= model.vocabulary);
  if (beyond !== undefined) return `a token id is ${beyond}`;
  const isRow = (numbers: readonly number[]) => numbers.length >= 1 && numbers.length <= model.hidden;
  const rows = [...embeddings, ...pictures.flatMap((one) => one.imageTokens)];
  if (!rows.every((one) => isRow(one.first) && isRow(one.last))) {
    return `a row has no numbers, or more than ${model.hidden}`;
  }
  return undefined;
}
