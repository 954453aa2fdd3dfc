/**
 * What the page remembers: preferences for good, the open talk for as long as the tab lives.
 *
 * Browsers may forbid storage; then nothing is remembered and everything else works.
 */

/** @typedef {{token: string, sessionId: string, at: number, windowMs: number, wishes: object}} OpenTalk */

const TALK = "parley.talk";

/** @param {() => Storage} where @param {(storage: Storage) => any} use */
function attempt(where, use) {
  try {
    return use(where());
  } catch {
    return null;
  }
}

/** @param {string} key @returns {string | null} */
export function preference(key) {
  return attempt(() => localStorage, (storage) => storage.getItem(`parley.${key}`));
}

/** @param {string} key @param {string} value empty forgets it */
export function prefer(key, value) {
  attempt(() => localStorage, (storage) => (value ? storage.setItem(`parley.${key}`, value) : storage.removeItem(`parley.${key}`)));
}

/** @param {OpenTalk | null} talk null: there is none any more */
export function keepTalk(talk) {
  attempt(() => sessionStorage, (storage) => (talk ? storage.setItem(TALK, JSON.stringify(talk)) : storage.removeItem(TALK)));
}

/** @returns {OpenTalk | null} the talk that was open when the page went away, if the server may still have it */
export function keptTalk() {
  const talk = attempt(() => sessionStorage, (storage) => JSON.parse(storage.getItem(TALK) || "null"));
  return talk && talkLeftMs(talk) > 0 ? talk : null;
}

/** @param {OpenTalk} talk @returns {number} how much longer the server keeps it */
export function talkLeftMs(talk) {
  return talk.at + talk.windowMs - Date.now();
}
