/** The choice of a language and of a voice that speaks it, in any form. */
import { all } from "./ask.js";
import { choose } from "./form.js";
import { pageLanguage, t } from "./words.js";

/** Languages to choose from even where no voice says so: those of the pages. */
const ALWAYS = ["en", "es"];

/**
 * Fill a form's two lists; the voices follow the language.
 * @param {HTMLFormElement} form @param {string} languageName @param {string} voiceName the fields' names
 */
export async function fillVoices(form, languageName, voiceName) {
  const voices = await all("/api/voices");
  const language = /** @type {HTMLSelectElement} */ (form.elements.namedItem(languageName));
  const voice = /** @type {HTMLSelectElement} */ (form.elements.namedItem(voiceName));
  const tags = [...new Set([...ALWAYS, ...voices.map((one) => one.language).filter(Boolean)])];
  const names = new Intl.DisplayNames([pageLanguage()], { type: "language", fallback: "code" });
  const titled = tags.map((tag) => [tag, titleOf(names, tag)]).sort((a, b) => a[1].localeCompare(b[1], pageLanguage()));
  language.replaceChildren(new Option(t("settings.default"), ""), ...titled.map(([tag, title]) => new Option(title, tag)));
  const draw = () => {
    const chosen = voice.value;
    const base = language.value.split("-")[0];
    const fitting = voices.filter((one) => !base || !one.language || one.language.split("-")[0] === base);
    voice.replaceChildren(new Option(t("settings.default"), ""), ...fitting.map((one) => new Option(one.name, one.id)));
    if (fitting.some((one) => one.id === chosen)) voice.value = chosen;
  };
  language.addEventListener("change", draw);
  draw();
  return {
    /** @param {string} tag @param {string} id what is chosen, also where the lists do not have it (any more) */
    show(tag, id) {
      choose(language, tag);
      draw();
      choose(voice, id);
    },
  };
}

/** @param {Intl.DisplayNames} names @param {string} tag */
function titleOf(names, tag) {
  try {
    const title = names.of(tag) || tag;
    return title.charAt(0).toUpperCase() + title.slice(1);
  } catch {
    return tag; // not a tag that the browser knows
  }
}
