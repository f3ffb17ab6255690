// Words of a bundle: its prompt, and the choice of the next token.
import { Template } from "@huggingface/jinja";

/** The text of a prompt with one picture of so many tiles; `template` is the text of the chat template. */
export function promptOf(question, tiles, template, { prompt, pictures }) {
  const { images, turns } = prompt;
  const found = [images.mark, ...prompt.reserved].find((text) => question.includes(text));
  if (found) throw new Error(`the question contains ${found}`);
  const content = images.mark + question;
  let text;
  if (turns) text = turns.roles.user.before + content + turns.roles.user.after + turns.generation;
  else {
    const messages = [{ role: "user", content }];
    const known = { messages, add_generation_prompt: true, tools: null, documents: null };
    text = new Template(template).render({ ...prompt.variables, ...known });
  }
  const context = images.context.repeat(tiles * pictures.tokens_per_tile);
  return text.split(images.mark).join(images.start + context + images.end);
}

/** The likeliest token after `ids`, of which `prompted` are the prompt's, by the model's settings; changes logits. */
export function chosen(logits, ids, prompted, { generation, prompt }) {
  const { repetition_penalty = 1, no_repeat_ngram: size = 0, min_length = 0, min_new_tokens = 0 } = generation;
  const { suppress_tokens = [], begin_suppress_tokens = [] } = generation;
  if (!logits.every(Number.isFinite)) throw new Error("the bundle computed logits that are not finite");
  const penalty = Math.fround(repetition_penalty), banned = [];
  for (const id of new Set(ids)) logits[id] = logits[id] < 0 ? logits[id] * penalty : logits[id] / penalty;
  for (let end = size; size > 0 && end <= ids.length; end++)
    if (ids.slice(ids.length + 1 - size).every((id, i) => id === ids[end - size + i])) banned.push(ids[end - 1]);
  if (ids.length < min_length || ids.length - prompted < min_new_tokens) banned.push(...prompt.stop_tokens);
  banned.push(...suppress_tokens, ...(ids.length === prompted ? begin_suppress_tokens : []));
  for (const id of banned) logits[id] = -Infinity;
  const token = logits.reduce((best, value, i) => (value > logits[best] ? i : best), 0);
  if (logits[token] === -Infinity) throw new Error("the model's settings leave no token to choose");
  return token;
}
