/** The pages for logging in and for making an account. */
import { api } from "./ask.js";
import { byId } from "./dom.js";
import { onSubmit } from "./form.js";
import { forgetLanguage } from "./texts.js";

const form = byId("door");

onSubmit(form, async (values) => {
  const given = Object.entries(values).filter(([, value]) => value !== "");
  await api("POST", form.dataset.post, Object.fromEntries(given));
  forgetLanguage(); // from now on the account's own counts
  location.assign(form.dataset.onward);
});
