/** Lists that come in pages: drawing them, the ways on and back, and what is said when there is nothing. */
import { ApiError, api, withQuery } from "./ask.js";
import { announceState } from "./announce.js";
import { byId, make } from "./dom.js";
import { t } from "./words.js";

export const PAGE_ITEMS = 20;

/**
 * A list at an address of the JSON interface, shown in `#list`.
 * @param {string} path
 * @param {{draw: (item: any) => HTMLElement, nothing: () => string, query?: () => Record<string, string>, at?: number,
 *   moved?: (offset: number) => void, loaded?: (answer: any) => void, box?: HTMLElement}} how
 */
export class List {
  constructor(path, { draw, nothing, query = () => ({}), at = 0, moved = () => {}, loaded = () => {}, box = byId("list") }) {
    Object.assign(this, { path, draw, nothing, query, moved, loaded, box });
    this.offset = at;
    this.asked = 0;
  }

  /** Ask again and draw. @param {{told?: boolean}} [how] told: say how many there are */
  async load({ told = false } = {}) {
    const asked = (this.asked += 1);
    this.box.setAttribute("aria-busy", "true");
    try {
      const answer = await api("GET", withQuery(this.path, { ...this.query(), limit: PAGE_ITEMS, offset: this.offset || undefined }));
      if (asked !== this.asked) return; // somebody has asked for something else since
      const { items, total } = answer;
      this.loaded(answer);
      if (items.length === 0 && this.offset > 0 && total > 0) {
        this.offset = Math.floor((total - 1) / PAGE_ITEMS) * PAGE_ITEMS; // the last page was emptied
        await this.load({ told });
        return;
      }
      this.#show(items, total);
      if (told) announceState(t("list.found", { n: total }));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.box.replaceChildren(make("p", { class: "problem", role: "alert", text: error.message }));
    } finally {
      this.box.removeAttribute("aria-busy");
    }
  }

  #show(items, total) {
    if (items.length === 0) {
      this.box.replaceChildren(make("p", { class: "nothing", text: this.nothing() }));
      return;
    }
    this.box.replaceChildren(make("ul", { class: "items", role: "list" }, items.map(this.draw)), ...this.#pager(items.length, total));
  }

  #pager(count, total) {
    if (total <= PAGE_ITEMS) return [];
    const to = (offset, key, able) => make("button", { class: "button", type: "button", text: t(key), disabled: !able, onclick: () => this.#go(offset) });
    return [
      make("nav", { class: "pager", "aria-label": t("list.pages") }, [
        to(Math.max(0, this.offset - PAGE_ITEMS), "list.newer", this.offset > 0),
        make("span", { class: "faint", text: t("list.part", { from: this.offset + 1, to: this.offset + count, total }) }),
        to(this.offset + PAGE_ITEMS, "list.older", this.offset + count < total),
      ]),
    ];
  }

  #go(offset) {
    this.offset = offset;
    this.moved(offset);
    void this.load({ told: true }).then(() => this.box.scrollIntoView());
  }
}
