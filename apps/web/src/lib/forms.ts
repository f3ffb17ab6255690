import { type Fields, type Node, WrongJson } from "./json.js";
import { ENGINES, type EngineName, type Form, type Manifest, type Part } from "./manifest.js";
import { embedding } from "./manifest-fields.js";

type Unformed = Omit<Manifest, "forms">;

/** The forms of a bundle: of target web those that its facts list, of target onnx one for every engine. */
export function formsOf(manifest: Unformed, facts: Node | undefined): Map<EngineName, Form> {
  if (manifest.target === "web") {
    if (!facts) throw new WrongJson("facts is missing");
    return facts.fields((fields) => new Map(listed(fields.get("engines"), manifest)));
  }
  facts?.entries();
  const [vision, decoder] = [manifest.parts.get("vision"), manifest.parts.get("decoder")];
  if (manifest.target !== "onnx" || !vision || !decoder || manifest.embedding === null) return new Map();
  const files = filesOf(vision, decoder, manifest.embedding.file, manifest.cache.firstRow);
  return new Map(ENGINES.map((name) => [name, { vision, decoder, embedding: manifest.embedding!, files }]));
}

function listed(engines: Node, manifest: Unformed): [EngineName, Form][] {
  const found = [...engines.entries()].map(([name, one]): [EngineName, Form] => {
    const engine = ENGINES.find((known) => known === name);
    if (!engine) throw new WrongJson(`${one.place} is not known`);
    return [engine, one.fields((fields) => form(fields, manifest))];
  });
  if (found.length === 0) throw new WrongJson("facts.engines is impossible");
  return found;
}

function form(fields: Fields, manifest: Unformed): Form {
  const partOf = (name: string): Part => {
    const place = fields.get(name);
    const part = manifest.parts.get(place.string());
    if (!part) throw new WrongJson(`${place.place} is '${place.string()}', which is not in parts`);
    return part;
  };
  const [vision, decoder] = [partOf("vision"), partOf("decoder")];
  const table = fields.get("embedding").fields(embedding);
  const used = filesOf(vision, decoder, table.file, manifest.cache.firstRow);
  const files = fields.get("files").strings();
  fields.rules({
    files: [...files].sort().join("\n") === [...used].sort().join("\n"),
    embedding: table.rows === manifest.model.vocabulary && table.width === manifest.model.hidden,
  });
  return { vision, decoder, embedding: table, files };
}

function filesOf(vision: Part, decoder: Part, table: string, firstRow: string | null): string[] {
  const parts = [vision, decoder].flatMap((part) => [part.file, ...part.weights]);
  return [...new Set([...parts, table, ...(firstRow === null ? [] : [firstRow])])];
}
