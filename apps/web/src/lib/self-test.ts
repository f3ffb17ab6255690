import { damaged, PhantomError } from "./errors.js";
import { type Golden, type GoldenQuestion, type GoldenRow, noGolden, readGolden } from "./golden.js";
import { decoded } from "./images.js";
import type { Opened } from "./opened.js";
import type { Pixels } from "./pixels.js";
import { type Facts, noFacts, type Session, type State, type Watch } from "./session.js";
import { completed } from "./settings.js";
import { sha256 } from "./sha256.js";
import { cutTiles, type Tiles } from "./tiling.js";

/** One comparison of a self-test, in words. */
export interface Finding {
  readonly name: string;
  readonly expected: string;
  readonly found: string;
  readonly passed: boolean;
}

/** Result of a self-test: what the bundle computes in this browser, against its checkpoint's own numbers. */
export interface Report {
  readonly passed: boolean;
  readonly findings: readonly Finding[];
  /** Names of cases that do not fit into the bundle's cache. */
  readonly leftOut: readonly string[];
}

interface Seen {
  readonly tiles: Tiles;
  readonly tokens: Float32Array;
}

/** What happened while a question was answered. */
interface Run {
  prompt: string;
  ids: readonly number[];
  readonly pictures: Seen[];
  readonly logits: Float32Array[];
  readonly choices: number[];
  readonly pieces: string[];
  readonly facts: Facts;
}

/** Asks a bundle's golden questions, and compares every stage. */
export async function runSelfTest(
  { session, store }: Opened,
  signal: AbortSignal,
  show: (state: State) => void,
): Promise<Report> {
  const { manifest } = session;
  if (manifest.golden === null) throw noGolden();
  const bring = (names: string[]) => store.bring(manifest, names, () => undefined);
  await bring([manifest.golden]);
  const golden = readGolden(await store.read(manifest, manifest.golden), manifest.golden, manifest);
  await bring(golden.pictures.map((one) => one.file));
  const pictures: Pixels[] = [];
  for (const { file } of golden.pictures) {
    try {
      pictures.push(await decoded(new Uint8Array(await store.read(manifest, file))));
    } catch (error) {
      if (error instanceof PhantomError && error.fault === "bad picture") throw damaged(`${file}: ${error.problem}`);
      throw error;
    }
  }
  return new SelfTest(session, golden, pictures).run(signal, show);
}

/**
 * Every answer is fed the golden ids, so that a tie, which two right programs may break in two ways, ends no comparison;
 * the tokens that the session would have chosen are compared where the choice is clear.
 */
class SelfTest {
  private readonly findings: Finding[] = [];
  private readonly seen = new Map<number, Seen>();

  constructor(
    private readonly session: Session,
    private readonly golden: Golden,
    private readonly pictures: readonly Pixels[],
  ) {}

  async run(signal: AbortSignal, show: (state: State) => void): Promise<Report> {
    const { session, golden, findings } = this;
    session.forget();
    this.compareEmbeddings();
    const runs: (Run | null)[] = [];
    for (const [done, question] of golden.questions.entries()) {
      show({ doing: "testing", done, all: golden.questions.length });
      runs.push(await this.ask(question, signal));
    }
    for (const number of golden.pictures.keys()) await this.comparePicture(number);
    for (const [number, run] of runs.entries()) if (run) this.compareRun(golden.questions[number]!, run);
    session.forget();
    return { passed: findings.every((one) => one.passed), findings, leftOut: golden.leftOut };
  }

  private async ask(question: GoldenQuestion, signal: AbortSignal): Promise<Run | null> {
    const { answer } = question;
    const isEnded = answer.stoppedBy === "end of turn";
    const forced = isEnded ? [...answer.ids, this.session.manifest.prompt.stopTokens[0]!] : answer.ids;
    const run: Run = { prompt: "", ids: [], pictures: [], logits: [], choices: [], pieces: [], facts: noFacts() };
    const watch: Watch = {
      onPrompt: (text, ids) => {
        run.prompt = text;
        run.ids = ids;
      },
      onPicture: (_, tiles, tokens) => run.pictures.push({ tiles, tokens }),
      onLogits: (logits) => run.logits.push(logits.slice()),
      feed: (chosen) => forced[run.choices.push(chosen) - 1] ?? chosen,
    };
    const shown = question.pictures.map((place) => this.pictures[place]!);
    const settings = completed({ maxNewTokens: question.maxNewTokens });
    const { facts, pieces } = run;
    try {
      const messages = [{ role: "user", content: question.question }] as const;
      const write = (piece: string) => void pieces.push(piece);
      await this.session.answer(messages, shown, { settings, facts, signal, watch, write });
    } catch (error) {
      if (!(error instanceof PhantomError)) throw error;
      this.note(`'${question.name}': answer`, short(answer.text), error.problem, false);
      return null;
    }
    for (const [at, place] of question.pictures.entries()) {
      if (!this.seen.has(place)) this.seen.set(place, run.pictures[at]!);
    }
    return run;
  }

  private note(name: string, expected: string, found: string, passed: boolean): void {
    this.findings.push({ name, expected, found, passed });
  }

  private same(name: string, wanted: string | number, found: string | number): void {
    this.note(name, short(`${wanted}`), short(`${found}`), wanted === found);
  }

  private bounded(name: string, error: number, bound: number, place = ""): void {
    this.note(name, `within ${bound.toExponential(1)}`, error.toExponential(1) + place, error <= bound);
  }

  private compareEmbeddings(): void {
    const rows = this.golden.embeddings;
    const { hidden } = this.session.manifest.model;
    const found = this.session.engine.embed(rows.map((one) => one.row));
    const largest = Math.max(...rows.flatMap((one) => [...one.first, ...one.last]).map(Math.abs));
    const numbers = (_: number, number: number) => found.subarray(number * hidden, (number + 1) * hidden);
    this.compareRows("embeddings", rows, largest, this.golden.bounds.embeddings, numbers);
  }

  private async comparePicture(number: number): Promise<void> {
    const wanted = this.golden.pictures[number]!;
    const { width, height } = this.pictures[number]!;
    const name = `picture ${number + 1}`;
    const { tiles, tokens } = this.seen.get(number) ?? (await this.encode(this.pictures[number]!));
    this.same(`${name}: pixels`, `${wanted.width} x ${wanted.height}`, `${width} x ${height}`);
    this.same(`${name}: grid`, wanted.grid.join(" x "), tiles.grid.join(" x "));
    const hashes = await Promise.all(tiles.tiles.map(sha256));
    const isSame = hashes.join() === wanted.tiles.join();
    const wrong = hashes.flatMap((hash, place) => (hash === wanted.tiles[place] ? [] : [place]));
    const said = isSame ? "the same" : `${hashes.length}, other pixels in tiles ${wrong.join(", ")}`;
    this.note(`${name}: tiles`, `${wanted.tiles.length}`, said, isSame);
    const { hidden } = this.session.manifest.model;
    const { imageTokens } = this.golden.bounds;
    const row = (place: number) => tokens.subarray(place * hidden, (place + 1) * hidden);
    this.compareRows(`${name}: image tokens`, wanted.imageTokens, wanted.largest, imageTokens, row);
    const column = Float32Array.from({ length: tokens.length / hidden }, (_, place) => tokens[place * hidden]!);
    this.bounded(`${name}: order of image tokens`, errorOf(wanted.column, column, wanted.largest), imageTokens);
  }

  /** A picture that no question shows. */
  private async encode(picture: Pixels): Promise<Seen> {
    const tiles = await cutTiles(picture, this.session.manifest.pictures);
    const parts: Float32Array[] = [];
    for (const tile of tiles.tiles) parts.push(await this.session.engine.encode(tile));
    const tokens = new Float32Array(parts.reduce((sum, one) => sum + one.length, 0));
    let at = 0;
    for (const one of parts) {
      tokens.set(one, at);
      at += one.length;
    }
    return { tiles, tokens };
  }

  private compareRun(question: GoldenQuestion, run: Run): void {
    const name = `'${question.name}'`;
    const { answer } = question;
    this.same(`${name}: prompt`, question.prompt, run.prompt);
    const place = question.ids.findIndex((id, at) => id !== run.ids[at]);
    const isSame = place < 0 && question.ids.length === run.ids.length;
    const said = `${run.ids.length} tokens${place < 0 ? "" : `, other ones from place ${place} on`}`;
    this.note(`${name}: token ids`, `${question.ids.length} tokens`, said, isSame);
    this.same(`${name}: tokens reused`, question.reused, run.facts.reusedTokens);
    this.compareLogits(`${name}: logits`, question, run);
    this.compareChoices(`${name}: choices`, question, run);
    this.same(`${name}: pieces`, answer.pieces.join(" | "), run.pieces.join(" | "));
    this.same(`${name}: answer`, answer.text, run.facts.text);
    this.same(`${name}: end`, answer.stoppedBy, run.facts.end);
  }

  private compareLogits(name: string, { steps, largest }: GoldenQuestion, { logits }: Run): void {
    if (steps.length !== logits.length) {
      this.note(name, `${steps.length} steps`, `${logits.length} steps`, false);
      return;
    }
    const errors = steps.map((step, place) => {
      const found = Float32Array.from(step.ids, (id) => logits[place]![id]!);
      return errorOf(step.values, found, largest);
    });
    const worst = Math.max(...errors);
    this.bounded(name, worst, this.golden.bounds.logits, ` in step ${errors.indexOf(worst)}`);
  }

  private compareChoices(name: string, { steps }: GoldenQuestion, { choices }: Run): void {
    const { stopTokens } = this.session.manifest.prompt;
    const isSame = (one: number, other: number) =>
      one === other || (stopTokens.includes(one) && stopTokens.includes(other));
    const wrong = steps.findIndex(({ choice }, place) => choice !== null && !isSame(choice, choices[place] ?? -1));
    const ties = steps.filter((one) => one.choice === null).length;
    const expected = `${steps.length} tokens${ties > 0 ? `, ${ties} of them ties` : ""}`;
    const said = wrong < 0 ? "the same" : `token ${choices[wrong]} in step ${wrong}, not ${steps[wrong]!.choice}`;
    this.note(name, expected, said, wrong < 0);
  }

  private compareRows(
    name: string,
    rows: readonly GoldenRow[],
    largest: number,
    bound: number,
    numbersOf: (row: number, number: number) => Float32Array,
  ): void {
    if (rows.length === 0) return;
    const errors = rows.map((wanted, number) => {
      const found = numbersOf(wanted.row, number);
      const last = found.subarray(Math.max(found.length - wanted.last.length, 0));
      return Math.max(
        errorOf(wanted.first, found.subarray(0, wanted.first.length), largest),
        errorOf(wanted.last, last, largest),
      );
    });
    const worst = Math.max(...errors);
    this.bounded(name, worst, bound, ` in row ${rows[errors.indexOf(worst)]!.row}`);
  }
}

/** The largest difference as a share of the largest magnitude; infinite where one is no number, or not there. */
function errorOf(wanted: readonly number[], found: Float32Array, largest: number): number {
  if (wanted.length !== found.length) return Number.POSITIVE_INFINITY;
  const error = Math.max(0, ...wanted.map((one, place) => Math.abs(one - found[place]!))) / largest;
  return Number.isNaN(error) ? Number.POSITIVE_INFINITY : error;
}

const SHOWN = 60;

function short(value: string): string {
  const text = value.replaceAll("\n", "\\n");
  return text.length <= SHOWN ? text : `${text.slice(0, SHOWN / 2)} ... ${text.slice(-SHOWN / 2)}`;
}
