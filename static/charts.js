/** Charts over days. Colours come from the page's style sheet, so they follow its theme; whoever cannot see a chart
 * has the table below it. */
import { pageLanguage, t } from "./words.js";

/** @typedef {{label: string, values: (number | null)[], ink: string, bars?: boolean, scale?: string,
 *   write?: (value: number) => string}} Series */

const DAY_S = 86_400;
const HEIGHT = 230;

/** @type {Map<HTMLElement, {drawn: any, draw: () => void}>} what is drawn in which box */
const charts = new Map();

/** Draw, in place of what was there. @param {HTMLElement} box @param {string[]} days @param {Series[]} series */
export function chart(box, days, series) {
  const data = [days.map((day) => Date.parse(day) / 1000), ...series.map(({ values }) => values)];
  const draw = () => {
    charts.get(box)?.drawn?.destroy();
    const drawn = new globalThis.uPlot(options(box.clientWidth, series), data, box);
    charts.set(box, { drawn, draw });
  };
  if (!charts.has(box)) sizes.observe(box);
  charts.set(box, { drawn: charts.get(box)?.drawn, draw });
  draw();
}

const sizes = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const drawn = charts.get(target)?.drawn;
    if (drawn && target.clientWidth > 0 && drawn.width !== target.clientWidth) drawn.setSize({ width: target.clientWidth, height: HEIGHT });
  }
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const { draw } of charts.values()) draw();
});

function options(width, series) {
  const scales = [...new Set(series.map(({ scale = "y" }) => scale))];
  const dated = (at, style) => new Date(at * 1000).toLocaleDateString(pageLanguage(), { timeZone: "UTC", ...style });
  const plain = { stroke: ink("axis"), ticks: { stroke: ink("grid"), width: 1 }, font: "12px system-ui, sans-serif" };
  return {
    width,
    height: HEIGHT,
    tzDate: (at) => globalThis.uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
    cursor: { drag: { x: false, y: false }, y: false },
    legend: { live: true },
    scales: { x: { range: (_, from, to) => [from - DAY_S / 2, to + DAY_S / 2] }, ...Object.fromEntries(scales.map((name) => [name, { range: upwards }])) },
    axes: [
      { ...plain, grid: { show: false }, incrs: [1, 2, 3, 7, 14, 30, 60, 90, 180, 365].map((n) => n * DAY_S), space: 60, values: (_, at) => at.map((x) => dated(x, { day: "numeric", month: "short" })) },
      ...scales.map((name, n) => ({
        ...plain,
        scale: name,
        side: n === 0 ? 3 : 1,
        size: 76,
        grid: n === 0 ? { stroke: ink("grid"), width: 1 } : { show: false },
        values: (_, found) => found.map((value) => written(series.find(({ scale = "y" }) => scale === name), value)),
      })),
    ],
    series: [{ label: t("admin.day"), value: (_, at) => (at ? dated(at, { dateStyle: "medium" }) : "–") }, ...series.map(drawnAs)],
  };
}

function upwards(_, _from, to) {
  return [0, to > 0 ? to * 1.1 : 1];
}

function drawnAs(one) {
  const colour = ink(one.ink);
  const value = (_, found) => (found === null || found === undefined ? "–" : written(one, found));
  const look = one.bars ? { fill: colour, paths: globalThis.uPlot.paths.bars({ size: [0.6, 34], radius: 0.15 }), points: { show: false } } : { width: 2, points: { size: 6, fill: colour } };
  return { label: one.label, scale: one.scale ?? "y", stroke: colour, spanGaps: true, value, ...look };
}

function written(one, value) {
  return one.write ? one.write(value) : value.toLocaleString(pageLanguage(), { maximumFractionDigits: 1 });
}

/** A colour of the page's. Canvases know no variables. @param {string} name */
function ink(name) {
  return getComputedStyle(document.querySelector(`.ink-${name}`)).color;
}

/** Every day between two, so that days without anything have their place. @param {string} first @param {string} last */
export function everyDay(first, last) {
  const days = [];
  for (let at = Date.parse(first); at <= Date.parse(last); at += DAY_S * 1000) days.push(new Date(at).toISOString().slice(0, 10));
  return days;
}
