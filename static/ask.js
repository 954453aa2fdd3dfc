/** Questions to the server from the pages around the talk: refusals come in the page's language, and a login that
 * has run out leads to a new one. */
import { ApiError, send } from "./api.js";
import { plainDetail } from "./details.js";
import { t } from "./words.js";

export { ApiError };

/**
 * @param {"GET" | "POST" | "PUT" | "PATCH" | "DELETE"} method
 * @param {string} path
 * @param {object} [body]
 * @returns {Promise<any>} the answer; null where there is none
 * @throws {ApiError} with a message for whoever reads the page
 */
export async function api(method, path, body) {
  try {
    return await send(method, path, body);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 401 && document.body.dataset.user) toLogin();
    error.message = error.status === 0 ? t("error.unreachable") : plainDetail(error.message);
    throw error;
  }
}

/** The login has run out or was revoked elsewhere. */
function toLogin() {
  const here = location.pathname + location.search;
  location.assign(`/login?next=${encodeURIComponent(here)}`);
}

/** @param {string} path @param {Record<string, string | number | undefined>} query empty values are left out */
export function withQuery(path, query) {
  const wanted = Object.entries(query).filter(([, value]) => value !== undefined && value !== "");
  const text = new URLSearchParams(wanted.map(([key, value]) => [key, String(value)])).toString();
  return text ? `${path}?${text}` : path;
}

/** Every item of a list, however long it is. @param {string} path @returns {Promise<any[]>} */
export async function all(path) {
  /** @type {any[]} */
  let found = [];
  for (;;) {
    const { items, total } = await api("GET", withQuery(path, { limit: 100, offset: found.length }));
    found = found.concat(items);
    if (items.length === 0 || found.length >= total) return found;
  }
}
