import { Camera } from "./camera.js";
import { byId, element } from "./dom.js";

/** A question as it was written, with its pictures. */
export interface Draft {
  readonly question: string;
  readonly pictures: readonly Blob[];
}

/** The form: a question, and pictures that were chosen, pasted, dropped or taken. */
export class Composer {
  private pictures: { picture: Blob; address: string }[] = [];
  private readonly text = byId<HTMLTextAreaElement>("question");
  private readonly form = byId<HTMLFormElement>("composer");
  private readonly camera: Camera;

  constructor(
    private readonly asked: (draft: Draft) => void,
    stopped: () => void,
  ) {
    this.camera = new Camera(
      (picture) => this.add([picture]),
      (problem) => this.refuse(problem),
    );
    this.text.oninput = () => {
      this.grow();
      this.refuse("");
    };
    this.text.onkeydown = (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.form.requestSubmit();
    };
    this.form.onsubmit = (event) => {
      event.preventDefault();
      void this.submit();
    };
    byId("stop").onclick = stopped;
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !byId("stop").hidden && !byId<HTMLDialogElement>("report").open) stopped();
    });
    for (const id of ["files", "photo"]) {
      const input = byId<HTMLInputElement>(id);
      input.onchange = async () => {
        await this.add([...(input.files ?? [])]);
        input.value = ""; // the same file may be chosen again
      };
    }
    document.addEventListener("paste", (event) => this.paste(event));
    this.listenToDrops();
  }

  private paste(event: ClipboardEvent): void {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length === 0) return;
    event.preventDefault();
    void this.add(files);
  }

  private listenToDrops(): void {
    const cover = byId("drop");
    const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
    document.addEventListener("dragover", (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      cover.hidden = false;
    });
    document.addEventListener("dragleave", (event) => {
      if (event.relatedTarget === null) cover.hidden = true;
    });
    document.addEventListener("drop", (event) => {
      cover.hidden = true;
      if (!hasFiles(event)) return;
      event.preventDefault();
      void this.add([...event.dataTransfer!.files]);
    });
  }

  /** Adds pictures to the next question; other files are refused. */
  async add(files: readonly Blob[]): Promise<void> {
    this.refuse("");
    for (const picture of files) {
      try {
        (await createImageBitmap(picture)).close();
      } catch {
        const name = picture instanceof File ? picture.name : "The picture";
        this.refuse(`${name} is no picture that this browser can read. Save it as PNG or JPEG.`);
        continue;
      }
      this.pictures.push({ picture, address: URL.createObjectURL(picture) });
    }
    this.showTray();
    this.text.focus();
  }

  private showTray(): void {
    const items = this.pictures.map(({ address }, at) => {
      const name = `Picture ${at + 1}`;
      const remove = element("button", { type: "button", textContent: "×", ariaLabel: `Remove picture ${at + 1}` });
      remove.onclick = () => {
        URL.revokeObjectURL(address);
        this.pictures.splice(at, 1);
        this.showTray();
        this.text.focus();
      };
      return element("li", {}, element("img", { src: address, alt: name }), remove);
    });
    const tray = byId("tray");
    tray.replaceChildren(...items);
    tray.hidden = items.length === 0;
  }

  private async submit(): Promise<void> {
    const question = this.text.value.trim();
    if (!byId("stop").hidden) return; // one question at a time
    if (question === "") {
      this.refuse("Write a question first, such as: What is in the picture?");
      this.text.focus();
      return;
    }
    const pictures = this.pictures.map((one) => one.picture);
    if (this.camera.isOn) {
      try {
        pictures.push(await this.camera.picture());
      } catch (error) {
        this.refuse(error instanceof Error ? error.message : String(error));
        return;
      }
    }
    this.empty();
    this.asked({ question, pictures });
  }

  /** Writes a question into the form, to be changed and asked again. */
  async write({ question, pictures }: Draft): Promise<void> {
    this.empty();
    this.text.value = question;
    this.grow();
    await this.add(pictures);
  }

  private empty(): void {
    for (const { address } of this.pictures) URL.revokeObjectURL(address);
    this.pictures = [];
    this.showTray();
    this.text.value = "";
    this.grow();
    this.refuse("");
  }

  private grow(): void {
    this.text.style.height = "auto";
    this.text.style.height = `${this.text.scrollHeight}px`;
  }

  refuse(problem: string): void {
    const line = byId("refusal");
    line.textContent = problem;
    line.hidden = problem === "";
  }

  /** Shows that an answer is on its way, or that the next question may be asked. */
  set busy(busy: boolean) {
    const hadFocus = document.activeElement === byId(busy ? "ask" : "stop");
    byId("stop").hidden = !busy;
    byId("ask").hidden = busy;
    if (hadFocus) byId(busy ? "stop" : "question").focus();
  }
}
