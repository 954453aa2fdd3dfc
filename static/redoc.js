// The page /redoc: Redoc over this server's own description.

const fonts = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";

window.Redoc.init(
  "/openapi.json",
  {
    disableSearch: true, // it runs in a worker made from a text, which our policy does not allow
    hideDownloadButton: true, // it stands in the bar on top
    nativeScrollbars: true,
    scrollYOffset: ".docs-nav",
    theme: { typography: { fontFamily: fonts, headings: { fontFamily: fonts } } },
  },
  document.getElementById("reference"),
);
