/** Small tools for making and filling elements. No inline style and no markup from strings: the page's
 * Content-Security-Policy allows neither, and what people said must never become markup. */
import { t } from "./texts.js";

const SVG = "http://www.w3.org/2000/svg";

/**
 * @param {string} id
 * @returns {any} the element; the page always has it
 */
export function byId(id) {
  return document.getElementById(id);
}

/**
 * @param {string} tag
 * @param {Record<string, any>} [attributes] `on...` are listeners, `text` the content, booleans as usual
 * @param {(Node | string)[]} [children]
 * @returns {any}
 */
export function make(tag, attributes = {}, children = []) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for SVG. @param {string} tag @param {Record<string, any>} attributes @param {Node[]} [children] */
export function makeSvg(tag, attributes, children = []) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false || value === null) continue;
    if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children);
  return element;
}

/** Put the page's language into everything that was marked for it. @param {ParentNode} [root] */
export function translate(root = document) {
  for (const element of root.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const element of root.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", t(element.dataset.label));
    element.setAttribute("title", t(element.dataset.label));
  }
  for (const element of root.querySelectorAll("[data-placeholder]")) element.placeholder = t(element.dataset.placeholder);
}
