// Tables that sort and search, and the switch between light and dark. Everything is readable without it.
"use strict";

/** Compare cells: numbers by value, words as people sort them, unknown always last. */
function compareCells(a, b, descending) {
  const missing = (value) => value === null || value === "";
  if (missing(a) || missing(b)) return missing(a) - missing(b);
  const order = typeof a === "number" && typeof b === "number"
    ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
  return descending ? -order : order;
}

/** The value that a cell is sorted by. */
function cellValue(cell) {
  if (!cell.hasAttribute("data-value")) return cell.textContent;
  const text = cell.getAttribute("data-value");
  const number = Number(text);
  return text === "" ? null : Number.isNaN(number) ? text : number;
}

function sortable(table) {
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    heading.replaceChildren(button);
    heading.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const isNumber = heading.classList.contains("number");
      const before = heading.getAttribute("aria-sort");
      const descending = before === "none" ? isNumber : before === "ascending";
      headings.forEach((each) => each.setAttribute("aria-sort", "none"));
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const rows = [...body.rows].map((row) => [cellValue(row.cells[index]), row]);
      rows.sort((a, b) => compareCells(a[0], b[0], descending));
      body.append(...rows.map(([, row]) => row));
      table.classList.add("sorted");
    });
  });
}

function searchable(table) {
  const rows = [...table.tBodies[0].rows];
  const box = document.createElement("div");
  const input = document.createElement("input");
  const said = document.createElement("span");
  box.className = "find";
  input.type = "search";
  input.placeholder = "search";
  input.setAttribute("aria-label", `Search in ${table.dataset.label}`);
  said.setAttribute("role", "status");
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    table.classList.toggle("sorted", table.classList.contains("sorted") || words.length > 0);
    said.textContent = words.length ? `${shown} of ${rows.length}` : "";
  });
  box.append(input, said);
  table.parentElement.before(box);
}

function themes() {
  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const tell = () => document.dispatchEvent(new CustomEvent("themechange"));
  document.getElementById("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    tell();
  });
  dark.addEventListener("change", tell);
  // Paper is white: what scripts have drawn takes the light colours, too.
  let chosen;
  window.addEventListener("beforeprint", () => {
    chosen = root.dataset.theme;
    root.dataset.theme = "light";
    tell();
  });
  window.addEventListener("afterprint", () => {
    if (chosen) root.dataset.theme = chosen;
    else delete root.dataset.theme;
    tell();
  });
}

if (typeof document !== "undefined") {
  document.documentElement.classList.add("js");
  themes();
  for (const table of document.querySelectorAll("table.data")) {
    if (table.tBodies[0].rows.length > 1) sortable(table);
    if (table.tBodies[0].rows.length > 10) searchable(table);
  }
}
if (typeof module !== "undefined") module.exports = { compareCells };
