import { Template } from "@huggingface/jinja";
import { damaged, PhantomError, reasonOf } from "./errors.js";
import type { Manifest, Prompt } from "./manifest.js";
import type { Words } from "./words.js";

/**
 * A message of a conversation.
 *
 * A picture's place is the mark of the bundle, usually `<image>`. Where no message has one, the pictures come before the
 * text of the last message.
 */
export interface Message {
  readonly role: "system" | "user" | "assistant";
  readonly content: string;
}

const ROLES: readonly string[] = ["system", "user", "assistant"];

function badQuestion(problem: string, remedy: string, cause?: unknown): PhantomError {
  return new PhantomError("bad question", problem, remedy, { cause });
}

/** From a conversation to token ids. */
export class Prompts {
  private readonly prompt: Prompt;
  private readonly template: Template | null;

  /** `template` is the text of the bundle's chat template; it is rendered where the manifest has it not written out. */
  constructor(
    private readonly manifest: Manifest,
    private readonly words: Words,
    template: string,
  ) {
    this.prompt = manifest.prompt;
    try {
      this.template = this.prompt.turns === null ? new Template(template) : null;
    } catch (error) {
      throw damaged(`${this.prompt.chatTemplate} is no chat template (${reasonOf(error)})`, undefined, error);
    }
  }

  /** The prompt's text, in which each of so many pictures is still its mark. */
  render(messages: readonly Message[], pictures: number): string {
    const last = messages.at(-1);
    if (!last) throw badQuestion("the conversation is empty", "begin with the message of a user");
    for (const message of messages) this.check(message);
    if (last.content.trim() === "") {
      throw badQuestion("the question is empty", "ask something, such as What is in the picture?");
    }
    const { mark } = this.prompt.images;
    if (messages.some((one) => one.content.includes(mark))) return this.rendered(messages);
    return this.rendered([...messages.slice(0, -1), { ...last, content: mark.repeat(pictures) + last.content }]);
  }

  private check(message: Message): void {
    const { reserved, images, turns } = this.prompt;
    if (typeof message?.content !== "string" || !ROLES.includes(message.role)) {
      throw badQuestion(
        `a message has the role ${message?.role} and ${typeof message?.content} as its content`,
        `write { role: "user", content: "..." }; roles: ${ROLES.join(", ")}`,
      );
    }
    const found = reserved.find((text) => message.content.includes(text));
    if (found !== undefined) {
      throw badQuestion(
        `a message contains the reserved text ${found}`,
        `write ${images.mark} where a picture goes, and leave ${found} out`,
      );
    }
    if (turns !== null && !turns.roles.has(message.role)) {
      throw badQuestion(
        `this bundle has no messages of the role ${message.role}`,
        `use only: ${[...turns.roles.keys()].join(", ")}`,
      );
    }
  }

  private rendered(messages: readonly Message[]): string {
    const { turns, variables } = this.prompt;
    if (turns !== null) {
      const written = messages.map(({ role, content }) => {
        const { before, after } = turns.roles.get(role)!;
        return before + content + after;
      });
      return written.join("") + turns.generation;
    }
    try {
      return this.template!.render({
        ...Object.fromEntries(variables),
        messages: messages.map(({ role, content }) => ({ role, content })),
        add_generation_prompt: true,
        tools: null,
        documents: null,
      });
    } catch (error) {
      throw badQuestion(
        `the chat template cannot write this conversation (${reasonOf(error)})`,
        "use plain messages",
        error,
      );
    }
  }

  /** Token ids of a rendered prompt, whose pictures have so many image tokens. */
  ids(rendered: string, imageTokens: readonly number[]): number[] {
    const { mark, start, context, end } = this.prompt.images;
    const texts = rendered.split(mark);
    if (texts.length - 1 !== imageTokens.length) {
      throw badQuestion(
        `${texts.length - 1} ${mark} marks, but ${imageTokens.length} pictures`,
        `write one ${mark} for every picture, in their order, or none at all`,
      );
    }
    const behind = (count: number, place: number) => start + context.repeat(count) + end + texts[place + 1]!;
    const ids = this.words.encode(texts[0]! + imageTokens.map(behind).join(""));
    this.checkIds(
      ids,
      imageTokens.reduce((sum, one) => sum + one, 0),
    );
    return ids;
  }

  private checkIds(ids: readonly number[], imageTokens: number): void {
    const { vocabulary } = this.manifest.model;
    const beyond = ids.find((id) => id >= vocabulary);
    if (beyond !== undefined) {
      throw badQuestion(
        `the tokenizer gives id ${beyond} for '${this.words.tokenOf(beyond)}', the model's vocabulary has ${vocabulary}`,
        "leave this text out",
      );
    }
    if (ids[0] !== this.prompt.firstToken) {
      throw badQuestion(
        "the prompt begins with another token than this bundle was made for",
        "begin with the message of a user",
      );
    }
    const found = ids.filter((id) => id === this.prompt.imageToken).length;
    if (found !== imageTokens) {
      throw badQuestion(
        `a message is read as image tokens: ${found}, and the pictures have ${imageTokens}`,
        `leave ${this.prompt.images.context} out of the text`,
      );
    }
    const room = this.manifest.cache.maxContext;
    if (ids.length >= room) {
      throw badQuestion(
        `the prompt has ${ids.length} tokens, this bundle holds ${room}`,
        "ask less, give fewer pictures, or export with a larger --max-context",
      );
    }
  }
}
