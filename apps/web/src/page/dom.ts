/** The element of an id in index.html, which has it. */
export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`index.html has no #${id}`);
  return found as T;
}

type Properties<K extends keyof HTMLElementTagNameMap> = Partial<Omit<HTMLElementTagNameMap[K], "style">>;

/** A new element with properties and children. Texts stay texts: nothing is read as HTML. */
export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Properties<K> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export function button(text: string, className: string, onclick: () => void): HTMLButtonElement {
  return element("button", { type: "button", className, textContent: text, onclick });
}

/** Reads a text aloud to users of screen readers. */
export function announce(text: string): void {
  byId("announcer").textContent = text;
}
