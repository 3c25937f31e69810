"use strict";
// Makes the page's tables sortable and filterable, and draws plots when they are opened. Without it all tables still read.
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

for (const table of all("table.sortable")) {
  [...table.tHead.rows].at(-1).querySelectorAll("th").forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sort(table, head, column));
  });
}

// A second click turns the order round; cells without a number stay last either way.
function sort(table, head, column) {
  const order = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
  const sign = order === "ascending" ? 1 : -1;
  const keys = new Map([...table.tBodies[0].rows].map((row) => [row, key(row.cells[column])]));
  const rows = [...keys.keys()].sort((one, other) => compare(keys.get(one), keys.get(other), sign));
  all("th[aria-sort]", table).forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", order);
  table.tBodies[0].append(...rows);
}

function key(cell) {
  if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
  const words = (cell.querySelector("summary") ?? cell).textContent.trim();
  return words === "–" ? null : words;
}

function compare(one, other, sign) {
  if (one === null || other === null) return (one === null) - (other === null);
  const numbers = typeof one === "number" && typeof other === "number";
  return sign * (numbers ? one - other : String(one).localeCompare(String(other), "en", { numeric: true }));
}

const form = document.querySelector("form.controls");
if (form) {
  const rows = all("main table.sortable > tbody > tr");
  let texts = null; // read at the first word that is searched for
  const selects = all("select", form);
  const filter = () => {
    const words = form.querySelector("input[type=search]").value.toLowerCase().split(/\s+/).filter(Boolean);
    if (words.length && !texts) texts = new Map(rows.map((row) => [row, searched(row)]));
    let count = 0;
    for (const section of all("main > section")) {
      const fits = selects.every((select) => !select.value || !section.dataset.task || section.dataset[select.name] === select.value);
      const own = all("table.sortable > tbody > tr", section);
      let shown = 0;
      for (const row of own) {
        row.hidden = !words.every((word) => texts.get(row).includes(word));
        shown += !row.hidden;
      }
      section.hidden = !fits || (own.length > 0 && shown === 0);
      count += section.hidden ? 0 : shown;
    }
    form.querySelector("output").textContent = `${count} of ${rows.length} rows`;
  };
  for (const box of all("input[type=checkbox]", form)) {
    box.addEventListener("change", () => {
      for (const cell of all(`[data-kind="${box.name}"]`)) cell.hidden = !box.checked;
    });
  }
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  filter();
}

// What stands behind a row is text until it is asked for.
function behind(row) {
  const script = row.closest(".scroll").nextElementSibling;
  script.texts ??= JSON.parse(script.textContent);
  return script.texts[row.querySelector("details").dataset.row];
}

function searched(row) {
  const more = row.querySelector("details") ? behind(row).replace(/<[^>]*>/g, " ") : "";
  return `${row.textContent} ${more}`.toLowerCase();
}

for (const details of all("details[data-row]")) {
  details.addEventListener("toggle", () => {
    const more = document.createElement("div");
    more.className = "more";
    more.innerHTML = behind(details.closest("tr"));
    details.append(more);
  }, { once: true });
}

// Plotly is large: it is read when the first plots are opened.
for (const plots of all("details.plots")) {
  plots.addEventListener("toggle", () => draw(plots), { once: true });
}

function draw(plots) {
  if (!window.Plotly) {
    const script = document.createElement("script");
    script.textContent = document.getElementById("plotly").textContent;
    document.head.append(script);
  }
  const charts = document.createElement("div");
  charts.className = "charts";
  plots.append(charts);
  const drawn = JSON.parse(plots.querySelector("script").textContent);
  const places = drawn.map(() => charts.appendChild(document.createElement("div"))); // all first: they share the width
  drawn.forEach((chart, index) => {
    window.Plotly.newPlot(places[index], chart.data, chart.layout, { responsive: true, displayModeBar: false });
  });
  plots.querySelector("p").hidden = true;
}
