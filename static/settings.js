/**
 * The few choices a person has, kept for the next visit: mode, voice, language, replies, how the agent looks,
 * appearance, and the language of the page.
 */
import { byId, make, makeSvg, translate } from "./dom.js";
import { prefer, preference } from "./keep.js";
import { PAGE_LANGUAGES, pageLanguage, setPageLanguage, t } from "./texts.js";

/** @typedef {{id: string, name: string, language: string, gender?: string}} Voice */

export class Settings {
  /** @param {{changed: () => void}} events `changed`: the page's language or a wish is another now */
  constructor(events) {
    this.events = events;
    this.dialog = byId("settings");
    /** @type {Voice[]} */
    this.voices = [];
    this.mode = preference("mode") === "hold-to-talk" ? "hold-to-talk" : "open-mic";
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) this.dialog.close(); // a click beside it
    });
    byId("settings-button").addEventListener("click", () => this.open());
    for (const radio of byId("mode").querySelectorAll("input")) {
      radio.checked = radio.value === this.mode;
      radio.addEventListener("change", () => this.#choose("mode", radio.value));
    }
  }

  /** What the next talk shall be like. @returns {import("./call.js").Wishes} */
  get wishes() {
    return {
      mode: this.mode,
      voice: preference("voice") || "",
      language: preference("language") || "",
      response: preference("replies") || "", // not chosen: as the agent likes it
    };
  }

  /** Ask the server for its voices. A server without the list offers no choice, and none is shown. */
  async load() {
    try {
      const answer = await fetch("/api/voices?limit=100");
      if (!answer.ok) return;
      const { items, total } = await answer.json();
      this.voices = items;
      for (let offset = items.length; offset < total; offset = this.voices.length) {
        const more = await (await fetch(`/api/voices?limit=100&offset=${offset}`)).json();
        if (more.items.length === 0) break;
        this.voices = this.voices.concat(more.items);
      }
    } catch {
      this.voices = []; // the talk itself will say what is wrong with the server
    }
    if (this.dialog.open) this.#draw();
  }

  open() {
    this.#draw();
    this.dialog.showModal();
  }

  #draw() {
    const cross = makeSvg("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, [
      makeSvg("path", { d: "M7 7l10 10M17 7L7 17" }),
    ]);
    const close = make("button", { class: "icon-button", type: "button", "aria-label": t("action.close") }, [cross]);
    close.addEventListener("click", () => this.dialog.close());
    this.dialog.replaceChildren(
      make("header", {}, [make("h2", { id: "settings-title", text: t("settings.title") }), close]),
      this.#segments("mode", "mode.label", ["open-mic", "hold-to-talk"], "mode.", this.mode),
      ...this.#voiceFields(),
      this.#segments("replies", "settings.replies", ["both", "text"], "settings.replies.", preference("replies") || "both"),
      this.#segments("avatar", "settings.avatar", ["auto", "orb", "face", "none"], "settings.avatar.", preference("avatar") || "auto"),
      this.#segments("theme", "settings.theme", ["auto", "light", "dark"], "settings.theme.", preference("theme") || "auto"),
      this.#select("page", "settings.page", Object.entries(PAGE_LANGUAGES), pageLanguage()),
      make("p", { class: "note", text: t("settings.later") }),
    );
  }

  #voiceFields() {
    if (this.voices.length === 0) return [];
    const names = new Intl.DisplayNames([pageLanguage()], { type: "language", fallback: "code" });
    const languages = [...new Set(this.voices.map((voice) => voice.language))]
      .map((tag) => [tag, languageName(names, tag)])
      .sort((a, b) => a[1].localeCompare(b[1], pageLanguage()));
    const language = preference("language") || "";
    const voices = this.voices.filter((voice) => !language || voice.language === language).map(({ id, name }) => [id, name]);
    const none = ["", t("settings.default")];
    return [
      this.#select("language", "settings.language", [none, ...languages], language),
      this.#select("voice", "settings.voice", [none, ...voices], preference("voice") || ""),
    ];
  }

  #select(name, label, options, value) {
    const id = `settings-${name}`;
    const select = make("select", { id, onchange: () => this.#choose(name, select.value) });
    select.append(...options.map(([key, text]) => make("option", { value: key, text, selected: key === value })));
    return make("div", { class: "field" }, [make("label", { for: id, text: t(label) }), select]);
  }

  #segments(name, label, keys, prefix, value) {
    const choices = keys.map((key) => {
      const radio = make("input", { type: "radio", name: `settings-${name}`, value: key, checked: key === value });
      radio.addEventListener("change", () => this.#choose(name, key));
      return make("label", {}, [radio, make("span", { text: t(prefix + key) })]);
    });
    return make("fieldset", { class: "field" }, [
      make("legend", { text: t(label) }),
      make("div", { class: "segments" }, choices),
    ]);
  }

  #choose(name, value) {
    if (name === "page") {
      setPageLanguage(value);
      this.#draw();
      translate();
      byId("settings-page").focus();
    } else if (name === "theme") {
      this.#theme(value);
    } else if (name === "avatar") {
      prefer(name, value === "auto" ? "" : value);
    } else {
      prefer(name, value);
    }
    if (name === "mode") this.#mode(value);
    if (name === "language") {
      prefer("voice", ""); // a voice speaks one language
      this.#draw();
      byId("settings-language").focus();
    }
    this.events.changed();
  }

  #mode(value) {
    this.mode = value;
    for (const radio of document.querySelectorAll("[name=mode], [name=settings-mode]")) radio.checked = radio.value === value;
  }

  #theme(value) {
    prefer("theme", value === "auto" ? "" : value);
    if (value === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = value;
  }
}

function languageName(names, tag) {
  try {
    return names.of(tag) || tag;
  } catch {
    return tag; // not a tag that the browser knows
  }
}
