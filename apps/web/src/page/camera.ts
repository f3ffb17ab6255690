import { byId } from "./dom.js";

const SIDE = 1280;
const JPEG = { type: "image/jpeg", quality: 0.92 };

/** The device's camera in the composer: a picture is taken, or each question is about what it sees at that moment. */
export class Camera {
  private stream: MediaStream | null = null;
  private readonly video = byId<HTMLVideoElement>("video");
  private readonly frame = byId("viewfinder");
  private readonly button = byId<HTMLButtonElement>("camera");

  constructor(taken: (picture: Blob) => void, refuse: (problem: string) => void) {
    this.button.onclick = () => {
      refuse("");
      if (this.isOn) this.close();
      else this.open().catch((error) => refuse(reasonOf(error)));
    };
    byId("camera-off").onclick = () => {
      this.close();
      this.button.focus();
    };
    byId("shoot").onclick = async () => {
      const picture = await this.picture().catch((error) => refuse(reasonOf(error)));
      if (!picture) return;
      this.close();
      taken(picture);
    };
  }

  get isOn(): boolean {
    return this.stream !== null;
  }

  private async open(): Promise<void> {
    if (!navigator.mediaDevices) throw new DOMException("", "SecurityError");
    const wish = { facingMode: "environment", width: { ideal: SIDE }, height: { ideal: SIDE } };
    this.stream = await navigator.mediaDevices.getUserMedia({ video: wish, audio: false });
    for (const track of this.stream.getTracks()) track.onended = () => this.close();
    this.video.srcObject = this.stream;
    this.frame.hidden = false;
    this.button.ariaPressed = "true";
    await this.video.play();
  }

  /** What the camera sees now. */
  async picture(): Promise<Blob> {
    const { videoWidth: width, videoHeight: height } = this.video;
    if (width === 0) throw new Error("the camera shows no picture yet; wait a moment");
    const canvas = new OffscreenCanvas(width, height);
    canvas.getContext("2d")!.drawImage(this.video, 0, 0);
    return canvas.convertToBlob(JPEG);
  }

  close(): void {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = null;
    this.video.srcObject = null;
    this.frame.hidden = true;
    this.button.ariaPressed = "false";
  }
}

function reasonOf(error: unknown): string {
  const name = error instanceof Error ? error.name : "";
  if (name === "NotAllowedError") return "The camera was not allowed. Allow it in the browser's settings of this page.";
  if (name === "NotFoundError") return "There is no camera here. Choose a picture from a file.";
  if (name === "NotReadableError") return "Another program uses the camera. Close that and try again.";
  if (name === "SecurityError") return "Browsers give the camera only to pages from https or localhost.";
  return error instanceof Error ? error.message : String(error);
}
