/** A document that does not fit; the message begins with the place, such as `parts.vision.file`. */
export class WrongJson extends Error {}

/** A number as it is spelled: JSON.parse alone rounds whole numbers, and takes 2.0 for 2. */
export class Numeral {
  constructor(readonly text: string) {}

  get isWhole(): boolean {
    return /^-?\d+$/.test(this.text);
  }
}

/** A value of a document. */
export type Value = null | boolean | string | Numeral | Value[] | { [name: string]: Value };

const STRINGS_AND_NUMBERS = /"(?:[^"\\]|\\.)*"|-?\d[\w.+-]*/g;

/** The document in a text, its numbers as they are spelled. Raises WrongJson. */
export function parseJson(text: string): Value {
  const mark = crypto.randomUUID(); // the name of no other field
  try {
    const spelled = text.replace(STRINGS_AND_NUMBERS, (found) => {
      if (found.startsWith('"')) return found;
      JSON.parse(found); // refuses 01 and 1.
      return `{"${mark}":"${found}"}`;
    });
    return JSON.parse(spelled, (_, value) =>
      typeof value === "object" && value !== null && mark in value ? new Numeral(value[mark]) : value,
    );
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof RangeError) throw new WrongJson(error.message);
    throw error;
  }
}

/** The text of UTF-8 bytes. Raises WrongJson for others. */
export function strictText(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw new WrongJson(`it is no UTF-8 (${error})`);
  }
}

const SHOWN = 60;

/** A value, and its place. Every reading raises WrongJson where the value is another one. */
export class Node {
  constructor(
    readonly place: string,
    readonly value: Value,
  ) {}

  get isNull(): boolean {
    return this.value === null;
  }

  string(): string {
    return typeof this.value === "string" ? this.value : this.wrong("string");
  }

  boolean(): boolean {
    return typeof this.value === "boolean" ? this.value : this.wrong("boolean");
  }

  /** A whole number. */
  int(): number {
    if (!(this.value instanceof Numeral) || !this.value.isWhole) return this.wrong("integer");
    return this.exact(this.value);
  }

  number(): number {
    if (!(this.value instanceof Numeral)) return this.wrong("number");
    const found = this.value.isWhole ? this.exact(this.value) : Number(this.value.text);
    if (!Number.isFinite(found)) throw new WrongJson(`${this.place} is ${this.shown()}, not number`);
    return found;
  }

  private exact(numeral: Numeral): number {
    const found = Number(numeral.text);
    if (!Number.isSafeInteger(found)) throw new WrongJson(`${this.place} is larger than 53 bits hold`);
    return found;
  }

  oneOf<T extends string>(...names: readonly T[]): T {
    const found = this.string();
    if ((names as readonly string[]).includes(found)) return found as T;
    throw new WrongJson(`${this.place} is '${this.shown()}', not ${names.join(" or ")}`);
  }

  list(): Node[] {
    if (!Array.isArray(this.value)) throw new WrongJson(`${this.place} is no list`);
    return this.value.map((one, number) => new Node(`${this.place}[${number}]`, one));
  }

  ints(): number[] {
    return this.list().map((one) => one.int());
  }

  numbers(): number[] {
    return this.list().map((one) => one.number());
  }

  strings(): string[] {
    return this.list().map((one) => one.string());
  }

  /** The fields of an object by their names. */
  entries(): Map<string, Node> {
    const { value } = this;
    if (typeof value !== "object" || value === null || Array.isArray(value) || value instanceof Numeral) {
      throw new WrongJson(`${this.place || "the document"} is no object`);
    }
    return new Map(Object.entries(value).map(([name, one]) => [name, new Node(this.inside(name), one)]));
  }

  /** Reads every field of an object alike. */
  each<T>(read: (node: Node) => T): Map<string, T> {
    return new Map([...this.entries()].map(([name, one]) => [name, read(one)]));
  }

  /** Reads an object: `read` takes its fields, and fields that it does not take are refused. */
  fields<T>(read: (fields: Fields) => T): T {
    const fields = new Fields(this, this.entries());
    const found = read(fields);
    fields.refuseOthers();
    return found;
  }

  orNull<T>(read: (node: Node) => T): T | null {
    return this.isNull ? null : read(this);
  }

  /** The place of a field. */
  inside(name: string): string {
    return this.place ? `${this.place}.${name}` : name;
  }

  private shown(): string {
    const { value } = this;
    return (value instanceof Numeral ? value.text : String(value)).slice(0, SHOWN);
  }

  wrong(kind: string): never {
    throw new WrongJson(`${this.place} is ${this.shown()}, not ${kind}`);
  }
}

/** The fields of an object. */
export class Fields {
  private readonly taken = new Set<string>();

  constructor(
    private readonly node: Node,
    private readonly entries: Map<string, Node>,
  ) {}

  /** A field that must be there. */
  get(name: string): Node {
    const found = this.find(name);
    if (!found) throw new WrongJson(`${this.node.inside(name)} is missing`);
    return found;
  }

  /** A field, or undefined where it is absent. */
  find(name: string): Node | undefined {
    this.taken.add(name);
    return this.entries.get(name);
  }

  refuseOthers(): void {
    for (const [name, one] of this.entries) {
      if (!this.taken.has(name)) throw new WrongJson(`${one.place} is not known`);
    }
  }

  /** Raises WrongJson that names the first rule that does not hold. */
  rules(rules: Record<string, boolean>): void {
    for (const [name, holds] of Object.entries(rules)) {
      if (!holds) throw new WrongJson(`${this.node.inside(name)} is impossible`);
    }
  }
}
