/**
 * Light, dark, or what the system says: set before the first paint, hence no module.
 * `data-theme` on the root element; absent means automatic. settings.js writes the same key.
 */
(() => {
  try {
    const theme = localStorage.getItem("parley.theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // Storage is closed to this page (a strict privacy setting): automatic then.
  }
})();
