"use strict";
// Tables with class "sortable" sort by a press on a column's head; search fields hide rows. Without
// JavaScript everything is still there to read.
(function () {
  function valueOf(cell) {
    const text = cell.dataset.value !== undefined ? cell.dataset.value : cell.textContent.trim();
    const number = Number(text.replace(/,/g, ""));
    if (text === "" || text === "–" || text === "nan") return { missing: true };
    return Number.isNaN(number) ? { text: text } : { number: number };
  }

  function compare(a, b) {
    if (a.number !== undefined && b.number !== undefined) return a.number - b.number;
    if (a.number !== undefined) return -1;
    if (b.number !== undefined) return 1;
    return a.text.localeCompare(b.text);
  }

  function sortBy(table, column, head) {
    // Numbers start with the smallest: the classes to worry about come first.
    const down = head.getAttribute("aria-sort") === "ascending";
    const body = table.tBodies[0];
    const rows = Array.from(body.rows, (row, place) => ({ row, place, key: valueOf(row.cells[column]) }));
    rows.sort((a, b) => {
      if (a.key.missing || b.key.missing) return (a.key.missing ? 1 : 0) - (b.key.missing ? 1 : 0) || a.place - b.place;
      return (down ? -1 : 1) * compare(a.key, b.key) || a.place - b.place;
    });
    const sorted = document.createDocumentFragment();
    rows.forEach((entry) => sorted.appendChild(entry.row));
    body.appendChild(sorted);
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      while (head.firstChild) button.appendChild(head.firstChild);
      head.appendChild(button);
      button.addEventListener("click", () => sortBy(table, column, head));
    });
  }

  for (const field of document.querySelectorAll("input[data-table]")) {
    const table = document.getElementById(field.dataset.table);
    const count = document.querySelector('[data-count="' + field.dataset.table + '"]');
    const rows = Array.from(table.tBodies[0].rows, (row) => ({ row, text: row.textContent.toLowerCase() }));
    const show = () => {
      const wanted = field.value.trim().toLowerCase();
      let found = 0;
      for (const entry of rows) {
        const match = entry.text.includes(wanted);
        if (entry.row.hidden === match) entry.row.hidden = !match;
        if (match) found += 1;
      }
      const shown = rows.length.toLocaleString("en") + " rows";
      const all = Number(table.dataset.all || 0);
      count.textContent = (wanted ? found.toLocaleString("en") + " of " : "") + (all > rows.length
        ? "the first " + shown + " of " + all.toLocaleString("en") : shown);
    };
    let waiting;
    field.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(show, 120); });
    show();
  }

  // A phone has no hover, so a tap on one of the big numbers leads to the words explained.
  for (const box of document.querySelectorAll(".number[title]")) {
    box.addEventListener("click", () => document.getElementById("glossary").scrollIntoView());
  }
})();
