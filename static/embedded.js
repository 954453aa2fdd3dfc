/**
 * An avatar from elsewhere: a page in a frame in the orb's place.
 *
 * It is believed only when it says so itself, by `postMessage({type: "parley.avatar", state: "playing"})` to this
 * page, from the very origin that the server named: until then, and after "gone", the page draws and speaks as
 * always. A frame that never loads is thus never noticed. Between two replies it is given the voice, and told so
 * by `{type: "parley.avatar", sound: true}`: until then it must be silent.
 */
import { make } from "./dom.js";
import { t } from "./texts.js";

/** @typedef {{kind: string, url?: string}} View what the server says there is to show */

export class Embedded {
  /**
   * @param {HTMLElement} box where it is shown
   * @param {{playing: (playing: boolean) => void, sounds: (sounds: boolean) => void, isBusy: () => boolean}} events
   *   `sounds`: it has the voice; `isBusy`: the page is in the middle of a reply
   */
  constructor(box, events) {
    this.box = box;
    this.events = events;
    this.url = "";
    this.playing = false;
    this.sounds = false;
    /** @type {HTMLIFrameElement | null} */
    this.frame = null;
    globalThis.addEventListener("message", (event) => this.#hear(event));
  }

  /** @param {View | null | undefined} view null, or one that a page cannot show: nothing */
  show(view) {
    const url = view?.kind === "embed" ? String(view.url || "") : "";
    if (url === this.url) return;
    this.#say(false);
    this.frame?.remove();
    this.frame = null;
    this.url = url;
    if (!url) return;
    this.frame = make("iframe", {
      src: url,
      class: "embedded",
      title: t("avatar.frame"),
      allow: "autoplay",
      sandbox: "allow-scripts allow-same-origin",
      referrerpolicy: "no-referrer",
      tabindex: "-1",
    });
    this.box.prepend(/** @type {Node} */ (this.frame));
  }

  /** @param {MessageEvent} event */
  #hear(event) {
    if (!this.frame || event.source !== this.frame.contentWindow) return;
    if (event.origin !== new URL(this.url, location.href).origin || event.data?.type !== "parley.avatar") return;
    this.#say(event.data.state === "playing");
  }

  #say(playing) {
    if (playing !== this.playing) {
      this.playing = playing;
      this.events.playing(playing);
    }
    this.settle();
  }

  /** Give it the voice when nothing is being said; take it back at once when it is gone. */
  settle() {
    if (this.playing === this.sounds || (this.playing && this.events.isBusy())) return;
    this.sounds = this.playing;
    this.frame?.contentWindow?.postMessage({ type: "parley.avatar", sound: this.sounds }, new URL(this.url, location.href).origin);
    this.events.sounds(this.sounds);
  }
}
