/**
 * Every word the page says, in each language it speaks. The catalogues have the same keys.
 *
 * `{name}` in a text is filled from the second argument of `t`. Reasons and problems are looked up by the
 * server's and the page's codes; a reason that is not known is shown as the server wrote it.
 */
import { es } from "./texts.es.js";

export const en = {
  "page.title": "Parley",
  "page.tagline": "Talk it through.",
  "page.intro": "Have a spoken conversation. Interrupt whenever you like.",
  "page.privacy": "Your microphone is on only while a talk is open.",
  "page.skip": "Skip to the conversation",

  "nav.label": "Pages",
  "nav.menu": "Menu",
  "nav.talk": "Talk",
  "nav.history": "History",
  "nav.agents": "Agents",
  "nav.sessions": "Sessions",
  "nav.appointments": "Appointments",
  "nav.analytics": "Analytics",
  "nav.admin": "Administration",
  "nav.profile": "Account:",
  "nav.login": "Log in",
  "nav.signup": "Sign up",
  "nav.logout": "Log out",

  "state.idle": "Start talking",
  "state.asking": "Allow the microphone",
  "state.connecting": "Connecting",
  "state.listening": "Listening",
  "state.hearing": "Hearing you",
  "state.ready": "Hold to talk",
  "state.muted": "Microphone off",
  "state.typing": "Ready",
  "state.thinking": "Thinking",
  "state.speaking": "Speaking",
  "state.interrupted": "Interrupted",
  "state.reconnecting": "Reconnecting",
  "state.ending": "Saving the talk",
  "state.ended": "Talk ended",
  "state.failed": "Not connected",

  "hint.idle": "Tap to begin",
  "hint.resume": "Your talk is still open for {seconds} s",
  "hint.asking": "Your browser is asking for it",
  "hint.listening": "Just speak",
  "hint.hearing": "Go on",
  "hint.hearing.hold": "Let go when you are done",
  "hint.ready": "Or hold the space bar",
  "hint.ready.touch": "Press and keep pressing",
  "hint.muted": "Tap to be heard again",
  "hint.typing": "Write, or tap to use the microphone",
  "hint.speaking": "Speak or tap to interrupt",
  "hint.speaking.quiet": "Tap to interrupt",
  "hint.thinking": "One moment",
  "hint.interrupted": "It’s your turn",
  "hint.reconnecting": "The talk is kept. Try {attempt}",
  "hint.ended": "Tap for a new talk",
  "hint.failed": "Tap to try again",

  "orb.start": "Start talking",
  "orb.continue": "Continue the talk",
  "orb.interrupt": "Interrupt the agent",
  "orb.unmute": "Turn the microphone on",
  "orb.hold": "Hold to talk",
  "orb.again": "Start a new talk",
  "orb.retry": "Try again",

  "action.typeInstead": "Type instead",
  "action.startNew": "Start a new talk",
  "action.mute": "Mute",
  "action.unmute": "Unmute",
  "action.end": "End",
  "action.retry": "Try again",
  "action.retryNow": "Try now",
  "action.send": "Send",
  "action.settings": "Settings",
  "action.close": "Close",
  "action.dismiss": "Dismiss",
  "action.latest": "Latest",

  "mode.label": "How do you want to talk?",
  "mode.open-mic": "Open mic",
  "mode.hold-to-talk": "Hold to talk",

  "settings.title": "Settings",
  "settings.voice": "Voice",
  "settings.language": "Spoken language",
  "settings.default": "Server’s choice",
  "settings.replies": "Replies",
  "settings.replies.both": "Spoken and written",
  "settings.replies.text": "Written only",
  "settings.avatar": "The agent’s looks",
  "settings.avatar.auto": "Its own",
  "settings.avatar.orb": "Orb",
  "settings.avatar.face": "Face",
  "settings.avatar.none": "Plain",
  "settings.theme": "Appearance",
  "settings.theme.auto": "Automatic",
  "settings.theme.light": "Light",
  "settings.theme.dark": "Dark",
  "settings.page": "Language of this page",
  "settings.later": "Mode, voice, language and replies apply from the next talk on.",

  "avatar.frame": "The agent’s picture",

  "talk.title": "Conversation",
  "talk.you": "You",
  "talk.agent": "Agent",
  "talk.handed": "{name} has taken over.",
  "gist.appointments": "Appointments",
  "gist.preferences": "Preferences",
  "gist.booked": "Booked",
  "gist.modified": "Moved to",
  "gist.cancelled": "Cancelled",
  "gist.viewed": "Looked up",
  "talk.empty": "What you both say appears here.",
  "talk.unheard": "not heard",
  "talk.cut.you.part": "You interrupted. The grey words were not heard.",
  "talk.cut.you.none": "You interrupted before anything was heard.",
  "talk.cut.you.end": "You interrupted at the very end.",
  "talk.cut.other.part": "It was cut off. The grey words were not heard.",
  "talk.cut.other.none": "It was cut off before anything was heard.",
  "talk.cut.other.end": "It was cut off at the very end.",
  "talk.tool.running": "{name} …",
  "talk.tool.done": "{name}",
  "talk.tool.failed": "{name} failed",
  "talk.tool.arguments": "Asked with",
  "talk.tool.result": "Answer",
  "talk.compose": "Write a message",
  "talk.reconnected": "Connected again. Nothing of the talk was lost.",
  "talk.resumed": "Your talk goes on.",

  "metrics.summary": "answered in {time}",
  "metrics.title": "How this answer came about",
  "metrics.endpoint": "Waiting for you to finish",
  "metrics.stt": "Understanding",
  "metrics.llm": "Thinking",
  "metrics.tts": "Voice",
  "metrics.play": "First sound played",
  "metrics.total": "From your last word to the first sound",
  "metrics.reason": "Why it answered when it did",
  "metrics.speculated": "It began to think before you had finished, and had guessed right.",
  "metrics.cost": "Cost",
  "metrics.interrupted": "Why it stopped",
  "metrics.pending": "not measured yet",

  "reason.silence": "You were silent for {n} ms.",
  "reason.held": "You were silent for {n} ms. It waited longer than usual: {why}.",
  "reason.sooner": "You were silent for {n} ms, which was enough: {why}.",
  "reason.long": "You had spoken for {n} s without a pause.",
  "reason.released": "You let go of the button.",
  "reason.typed": "You sent a written message.",
  "reason.speech": "You had spoken over it for {n} ms.",
  "reason.words": "You said {n} words over it.",
  "reason.pressed": "You pressed the talk button.",
  "reason.asked": "You asked it to stop.",
  "reason.lost": "The connection was lost.",
  "reason.restarting": "The server was restarted.",
  "reason.ended": "The talk was ended.",

  "ended.title": "Your talk",
  "ended.reason.idle": "It was quiet for a long time, so the talk was closed.",
  "ended.reason.abandoned": "The server could not be told. It closes the talk by itself within a minute.",
  "ended.reason.unanswered": "The server has not confirmed yet that everything is saved.",
  "ended.none": "There is nothing to download: nothing was said.",
  "ended.whole": "The whole talk",
  "ended.pieces": "Each part",
  "ended.json": "Transcript (JSON)",
  "ended.download": "Download",
  "ended.download.of": "Download {name}",
  "ended.loading": "Looking for the recordings",
  "ended.failed": "The recordings could not be listed. They may still be being written.",

  "problem.mic-refused": "The microphone is blocked",
  "problem.mic-refused.text": "Allow it for this page in your browser’s address bar, then try again. You can also type.",
  "problem.mic-none": "No microphone found",
  "problem.mic-none.text": "Connect one and try again. You can also type.",
  "problem.mic-busy": "The microphone is in use",
  "problem.mic-busy.text": "Another program may be holding it. Close that and try again, or type.",
  "problem.mic-insecure": "The microphone needs a secure page",
  "problem.mic-insecure.text": "Browsers share it only over https or on this very computer. You can type instead.",
  "problem.mic-failed": "The microphone could not be started",
  "problem.mic-failed.text": "Try again, or type instead.",
  "problem.mic-lost": "The microphone is gone",
  "problem.mic-lost.text": "It was unplugged or its permission was taken back. The talk goes on: type, or turn it on again.",
  "problem.full": "All lines are busy",
  "problem.full.text": "As many talks are open as this server can carry. Please try again in a moment.",
  "problem.unreachable": "The server does not answer",
  "problem.unreachable.text": "Check your connection, or try again in a moment.",
  "problem.refused": "The server refused this talk",
  "problem.refused.text": "You may need to sign in, or this page is not allowed to use it.",
  "problem.too-big": "The server refused what was sent",
  "problem.too-big.text": "A message was too big. Please start again.",
  "problem.taken-over": "The talk goes on elsewhere",
  "problem.taken-over.text": "It was continued in another window or on another device.",
  "problem.expired": "The talk could not be continued",
  "problem.expired.text": "The connection was gone for too long. What was said until then is saved.",
  "problem.error": "Something went wrong",
  "problem.nothing_heard": "Nothing was heard",
  "problem.nothing_heard.text": "Hold the button for as long as you speak.",
  "problem.reconnecting": "The connection was lost",
  "problem.reconnecting.text": "Your talk is kept for about a minute. Reconnecting by itself.",
  "problem.sound": "This browser cannot play the agent’s voice",
  "problem.sound.text": "A current browser is needed.",

  "say.connected": "Connected.",
  "say.muted": "Microphone off.",
  "say.unmuted": "Microphone on.",
  "say.agent": "Agent: {text}",
  "say.you": "You: {text}",
  "say.ended": "The talk has ended. Downloads are below the conversation.",
};

const CATALOGUES = { en, es };

/** The page's languages, each named in itself. */
export const PAGE_LANGUAGES = { en: "English", es: "Español" };

/** The server reads it too, and draws the next page in that language. */
const COOKIE = "parley_language";
const COOKIE_S = 365 * 24 * 3600;
let current = choose();

/** The server has chosen already; where there is none, what the browser likes. */
function choose() {
  const wanted = [document.documentElement.lang, ...navigator.languages].map((tag) => (tag || "").slice(0, 2));
  return wanted.find((tag) => tag in CATALOGUES) || "en";
}

/** @returns {string} the page's language now */
export function pageLanguage() {
  return current;
}

/** @param {string} language one of PAGE_LANGUAGES */
export function setPageLanguage(language) {
  current = language in CATALOGUES ? language : "en";
  document.cookie = `${COOKIE}=${current}; path=/; max-age=${COOKIE_S}; samesite=lax`;
}

/** What was chosen on a page counts no more: what the account prefers does. */
export function forgetLanguage() {
  document.cookie = `${COOKIE}=; path=/; max-age=0; samesite=lax`;
}

/** Another page's words. @param {Record<string, Record<string, string>>} more by language */
export function addTexts(more) {
  for (const [language, texts] of Object.entries(more)) Object.assign(CATALOGUES[language], texts);
}

/**
 * @param {string} key
 * @param {Record<string, string | number>} [fill]
 * @returns {string}
 */
export function t(key, fill = {}) {
  const text = CATALOGUES[current][key] ?? en[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => String(fill[name] ?? ""));
}

/** @param {number} ms @returns {string} "840 ms", "1.2 s" */
export function duration(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const digits = ms < 10_000 ? 1 : 0;
  const seconds = (ms / 1000).toLocaleString(current, { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return `${seconds} s`;
}

/** @param {number} ms @returns {string} "2:05" */
export function clock(ms) {
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}
