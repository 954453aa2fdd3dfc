/**
 * Hold-to-talk as a gesture: mouse, touch, pen, space bar, and the single click of assistive technology.
 *
 * Whatever takes the finger or the key away from us (a lost pointer, another window, a hidden tab) is a
 * release: a talk button must never stay down by itself.
 */

/**
 * @param {HTMLElement} button
 * @param {{wanted: () => boolean, press: () => void, release: () => void}} talk `wanted`: holding means
 *   something now
 */
export function holdToTalk(button, { wanted, press, release }) {
  let down = false;
  let byPointer = false;
  let focusByKeyboard = false;

  const begin = () => {
    if (down || !wanted()) return;
    down = true;
    press();
  };
  const finish = () => {
    if (!down) return;
    down = false;
    release();
  };

  button.addEventListener("pointerdown", (event) => {
    byPointer = true;
    if (event.button !== 0 || !wanted()) return;
    button.setPointerCapture(event.pointerId);
    begin();
  });
  for (const type of ["pointerup", "pointercancel", "lostpointercapture"]) button.addEventListener(type, finish);
  button.addEventListener("contextmenu", (event) => {
    if (wanted()) event.preventDefault(); // a long touch is a hold here
  });
  button.addEventListener("click", (event) => {
    // A click without pointer or key before it comes from a screen reader or a switch: it toggles.
    const synthetic = !byPointer && event.detail === 0 && event.isTrusted;
    byPointer = false;
    if (synthetic && wanted()) (down ? finish : begin)();
  });

  document.addEventListener("pointerdown", () => (focusByKeyboard = false), true);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Tab") focusByKeyboard = true;
    if (event.code !== "Space" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (!(down || wanted()) || needsSpace(event.target, button, focusByKeyboard)) return;
    event.preventDefault();
    if (!event.repeat) begin();
  });
  document.addEventListener("keyup", (event) => {
    if (event.code !== "Space" || !down) return;
    event.preventDefault(); // or the button under the focus would be clicked
    finish();
  });
  globalThis.addEventListener("blur", finish);
  document.addEventListener("visibilitychange", () => document.hidden && finish());
}

/**
 * Does the focused element want the space bar for itself? Text fields always; other controls only when the
 * focus came by keyboard, for after a click nobody thinks of the button they clicked.
 */
function needsSpace(target, button, focusByKeyboard) {
  if (!(target instanceof Element) || target === button) return false;
  if (target.closest("input[type=text], textarea, select, [contenteditable], dialog[open]")) return true;
  return focusByKeyboard && target.closest("button, a, summary, input, audio, [role=button]") !== null;
}
