/** A talk that somebody shared by a link: to read and to hear, nothing more. */
import { ApiError, api } from "./ask.js";
import { byId } from "./dom.js";
import { plainFacts, tell } from "./told.js";

try {
  const talk = await api("GET", location.pathname);
  tell(talk, plainFacts(talk));
} catch (error) {
  if (!(error instanceof ApiError)) throw error;
  byId("told").removeAttribute("aria-busy");
  byId("trouble").hidden = false;
  byId("trouble").textContent = error.message;
}
