// Elements without markup in strings: nothing that was read can become part of the page's code.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

const filled = (node, attributes, children) => {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value !== undefined && value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
};

export const el = (tag, attributes, ...children) => filled(document.createElement(tag), attributes, children);

export const svg = (tag, attributes, ...children) => filled(document.createElementNS(SVG, tag), attributes, children);

// A text is only written where it changed, so that selections and screen readers are left alone.
export const say = (node, text) => {
  if (node.textContent !== text) node.textContent = text;
};

// A table that scrolls by itself where it is too wide, by keyboard too.
export const scrolled = (name, headings, rows) =>
  el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `${name}, as a table` }, table(name, headings, rows));

// A table from headings and rows of cells; numbers stand right, words left.
export const table = (caption, headings, rows) =>
  el("table", null,
    el("caption", { class: "unseen" }, caption),
    el("thead", null, el("tr", null, headings.map(([text, kind]) => el("th", { scope: "col", class: kind }, text)))),
    el("tbody", null, rows.map((cells) => el("tr", null, cells.map((cell, at) =>
      at === 0 ? el("th", { scope: "row" }, cell) : el("td", { class: headings[at][1] }, cell))))));
