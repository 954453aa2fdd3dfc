/** The words of the pages around the talk, added to the talk page's own. */
import { addTexts } from "./texts.js";
import { en } from "./texts.pages.js";
import { es } from "./texts.pages.es.js";

addTexts({ en, es });

export { clock, duration, pageLanguage, t } from "./texts.js";
