// The page /docs/websocket: /asyncapi.json, to be read.

import { get } from "./api.js";

const page = document.getElementById("protocol");

function add(parent, tag, text = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  parent.append(made);
  return made;
}

/** What a JSON schema allows, in a few words. */
function kind(schema) {
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(", ");
  if (schema.contentEncoding) return schema.contentEncoding;
  if (schema.type === "array") return `list of ${kind(schema.items)}`;
  if (schema.type === "object" && schema.properties) {
    const fields = Object.entries(schema.properties).map(([name, inner]) => `${name}: ${kind(inner)}`);
    return `{${fields.join(", ")}}`;
  }
  const most = schema.maxLength ? `, at most ${schema.maxLength}` : "";
  return [schema.type].flat().join(" or ") + most;
}

function table(parent, heads, rows) {
  const made = add(parent, "table");
  const top = add(add(made, "thead"), "tr");
  for (const head of heads) add(top, "th", head).scope = "col";
  const body = add(made, "tbody");
  for (const [name, ...cells] of rows) {
    const row = add(body, "tr");
    add(add(row, "td"), "code", name);
    for (const cell of cells) add(row, "td", cell);
  }
}

function showMessage(parent, message) {
  const card = add(parent, "article");
  add(add(card, "h3"), "code", message.title);
  add(card, "p", message.summary);
  const { properties = {}, required = [] } = message.payload;
  const fields = Object.entries(properties).filter(([name]) => name !== "type");
  if (fields.length) {
    const optional = (name) => (required.includes(name) ? "" : "optional. ");
    const rows = fields.map(([name, one]) => [name, kind(one), optional(name) + (one.description ?? "")]);
    table(card, ["field", "values", ""], rows);
  }
  for (const { payload } of message.examples ?? []) add(card, "pre", JSON.stringify(payload));
}

function show(spec) {
  add(page, "p", spec.info.description).className = "about";
  add(page, "h2", "Paths");
  table(page, ["path", ""], Object.values(spec.channels).map((one) => [one.address, one.summary]));
  const query = spec.channels.voice.bindings.ws.query.properties;
  add(page, "h2", "Query of /ws/voice");
  table(page, ["name", ""], Object.entries(query).map(([name, one]) => [name, one.description]));
  for (const operation of Object.values(spec.operations)) {
    add(page, "h2", operation.summary.replace(/\.$/, ""));
    for (const { $ref } of operation.messages) {
      if (operation.channel.$ref.endsWith("/transcript") && !$ref.endsWith("/watcher_connected")) continue;
      showMessage(page, spec.components.messages[$ref.split("/").at(-1)]);
    }
    if (operation.channel.$ref.endsWith("/transcript")) {
      add(page, "p", "Then the same events as above, without sound.");
    }
  }
}

try {
  show(await get("/asyncapi.json"));
} catch (error) {
  add(page, "p", error.message).setAttribute("role", "alert");
}
