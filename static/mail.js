/** The pages that a mail's link leads to, and the one that asks for such a mail. A link only shows its page: a mail
 * program that looks at it in advance uses nothing up. */
import { api } from "./ask.js";
import { byId } from "./dom.js";
import { onSubmit } from "./form.js";
import { t } from "./words.js";

const key = new URLSearchParams(location.search).get("key") ?? "";

if (byId("forgot")) {
  onSubmit(byId("forgot"), async ({ email }) => {
    const { detail } = await api("POST", "/api/auth/reset/request", { email });
    return detail.includes("log") ? t("forgot.log") : t("forgot.sent");
  });
}

if (byId("reset")) {
  onSubmit(byId("reset"), async ({ new_password }) => {
    await api("POST", "/api/auth/reset", { key, new_password });
    byId("reset").reset();
    return t("reset.done");
  });
}

if (byId("verify")) {
  onSubmit(byId("verify"), async () => {
    await api("POST", "/api/auth/verify", { key });
    return t("verify.done");
  });
}
