// Parley's HTTP interface for pages: JSON in, JSON out, and errors that are sentences.
//
//   import { ApiError, get, post } from "/static/api.js";
//   const { items, total } = await get("/api/users/history", { q: "appointment", limit: 10 });
//
// Requests go to this server only and take the login's cookie along. The server lets a cookie write only from
// pages of its own, which browsers tell it by themselves (Sec-Fetch-Site): there is no token to carry.

/** What the server, or the way to it, had against a request. `message` is a sentence for the user. */
export class ApiError extends Error {
  /**
   * @param {string} message
   * @param {number} status - of HTTP; 0: the server was not reached
   * @param {number} retryAfterS - with 429: how long to wait
   */
  constructor(message, status = 0, retryAfterS = 0) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.retryAfterS = retryAfterS;
  }
}

/** `query` are fields of the address; those that are null, undefined or "" are left out. */
export const get = (path, query = {}, options = {}) => send("GET", withQuery(path, query), undefined, options);
export const post = (path, body, options = {}) => send("POST", path, body, options);
export const put = (path, body, options = {}) => send("PUT", path, body, options);
export const patch = (path, body, options = {}) => send("PATCH", path, body, options);
export const del = (path, options = {}) => send("DELETE", path, undefined, options);

/**
 * One request. A `body` of FormData goes as a form, any other as JSON.
 * Resolves to the answer's JSON, to a Blob when it is something else, to null when it is empty.
 * @param {{signal?: AbortSignal}} options
 */
export async function send(method, path, body, { signal } = {}) {
  const headers = { Accept: "application/json, */*;q=0.5" };
  const isForm = body instanceof FormData;
  if (body !== undefined && !isForm) headers["Content-Type"] = "application/json";
  const url = ours(path);
  let answer;
  try {
    answer = await fetch(url, {
      method,
      headers,
      body: body === undefined || isForm ? body : JSON.stringify(body),
      credentials: "same-origin",
      signal,
    });
  } catch (error) {
    if (error.name === "AbortError") throw error; // the caller's own wish
    throw new ApiError("The server cannot be reached.");
  }
  if (!answer.ok) throw await refusal(answer);
  return content(answer);
}

/** The path, if it leads to this server: what a page is given as a path could be anybody's address. */
function ours(path) {
  const url = new URL(path, location.href);
  if (url.origin !== location.origin) throw new ApiError("This address is not on this server.");
  return url;
}

function withQuery(path, query) {
  const fields = Object.entries(query).filter(([, value]) => value != null && value !== "");
  const text = new URLSearchParams(fields).toString();
  return text ? `${path}${path.includes("?") ? "&" : "?"}${text}` : path;
}

async function content(answer) {
  if (answer.status === 204 || answer.headers.get("Content-Length") === "0") return null;
  const kind = answer.headers.get("Content-Type") ?? "";
  return /\bjson\b/.test(kind) ? answer.json() : answer.blob();
}

async function refusal(answer) {
  const wait = Number(answer.headers.get("Retry-After")) || 0;
  let sentence = "";
  try {
    sentence = (await answer.json()).detail;
  } catch {
    // not ours: a proxy between us has answered
  }
  if (typeof sentence !== "string" || !sentence) sentence = `The server answered with an error (${answer.status}).`;
  return new ApiError(sentence, answer.status, wait);
}
