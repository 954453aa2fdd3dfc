// The page /docs: Swagger UI over this server's own description.

window.SwaggerUIBundle({
  url: "/openapi.json",
  domNode: document.getElementById("swagger"),
  layout: "BaseLayout",
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  persistAuthorization: false, // a bearer token does not outlive the page
  validatorUrl: null, // the default sends the description to a stranger
});
