"use strict";
// Brushing: trials that the form names, or a box drawn into a plot finds, light up everywhere. Without
// this script the form loads the page again, and rows of the table are marked.
const FAINT = 0.12;
let brushes = 0; // each makes Plotly forget what it has selected by itself
let shown = null; // the trials that are lit, a set; null where nothing is brushed
let asked = 0; // counts what the reader wants: an answer to an earlier wish comes too late
let waiting = 0;

function plots() {
  return [...document.querySelectorAll("[data-plot]")].filter((place) => place.data && place.data.some((each) => each.customdata));
}

// Dots are dimmed one by one; not as Plotly's own selection, which each new drawing takes back.
function litDots(trace, lit) {
  const opacity = trace.customdata.map((number) => (lit.has(number) ? 1 : FAINT));
  return { ...trace, selectedpoints: null, marker: { ...trace.marker, opacity } };
}

// Lines are dimmed as a whole, and those that are lit drawn once more on top. The legend, which Plotly
// dims with its lines, is that of an empty trace.
function litLines(trace, lit) {
  const kept = trace.customdata.map((number, index) => (number === null ? lit.has(trace.customdata[index - 1]) : lit.has(number)));
  const only = (values) => values.filter((_, index) => kept[index]);
  const over = { ...trace, x: only(trace.x), y: only(trace.y), customdata: only(trace.customdata), meta: "lit", showlegend: false, selectedpoints: null };
  if (trace.text) over.text = only(trace.text);
  over.line = { ...trace.line, width: Math.max(trace.line.width, 2.5), dash: "solid" };
  const key = { ...over, x: [null], y: [null], customdata: [null], text: "", line: trace.line, showlegend: true };
  return [{ ...trace, opacity: FAINT, selectedpoints: null, showlegend: false }, key, over];
}

function plain({ showlegend, ...trace }) {
  const marker = trace.marker ? { marker: { ...trace.marker, opacity: 1 } } : {};
  return { ...trace, ...marker, opacity: 1, selectedpoints: null };
}

function lightPlot(place, lit) {
  const traces = place.data.filter((each) => each.meta !== "lit").flatMap((each) => {
    if (!each.customdata || lit === null) return [plain(each)];
    const hasGaps = each.customdata.includes(null);
    return hasGaps ? litLines(each, lit) : [litDots(each, lit)];
  });
  brushes += 1;
  const layout = { ...place.layout, selectionrevision: brushes, dragmode: "select" };
  if (layout.selections && layout.selections.length) layout.selections = [];
  Plotly.react(place, traces, layout);
}

function say(lit) {
  const rows = [...document.querySelectorAll("#trials tbody tr[data-trial]")];
  for (const row of rows) row.classList.toggle("lit", lit !== null && lit.has(Number(row.dataset.trial)));
  const numbers = lit === null ? [] : [...lit].sort((one, other) => one - other);
  document.getElementById("lit").textContent =
    lit === null ? "" : `${numbers.length} of ${document.getElementById("brush").dataset.total} trials are lit${numbers.length ? ": " : ""}${numbers.join(", ")}.`;
  document.getElementById("tick-lit").disabled = !numbers.length;
}

function light(numbers) {
  shown = numbers === null ? null : new Set(numbers);
  for (const place of plots()) lightPlot(place, shown);
  say(shown);
}

function remember(words) {
  const target = new URL(location.href);
  for (const word of ["brush", "low", "high", "is", "trials"]) target.searchParams.delete(word);
  for (const [word, value] of words) if (value) target.searchParams.set(word, value);
  history.replaceState(null, "", target);
}

function isOfWords(form) {
  return form.elements.brush.selectedOptions[0].dataset.words === "1";
}

// Only what can be said of the chosen setting is shown.
function fitForm(form) {
  const axis = form.elements.brush.selectedOptions[0];
  for (const name of ["low", "high"]) {
    form.elements[name].closest("label").hidden = !axis.value || isOfWords(form);
    form.elements[name].placeholder = axis.dataset[name] || "";
  }
  form.elements.is.closest("label").hidden = !isOfWords(form);
  for (const each of form.elements.is.options) each.hidden = each.value !== "" && each.dataset.of !== axis.value;
}

function newWish() {
  clearTimeout(waiting);
  document.getElementById("brush").classList.remove("stale");
  asked += 1;
  return asked;
}

function clearForm(form) {
  for (const name of ["brush", "low", "high", "is"]) form.elements[name].value = "";
  fitForm(form);
}

async function followForm(form) {
  const mine = newWish();
  fitForm(form);
  const isWords = isOfWords(form);
  const words = ["brush", ...(isWords ? ["is"] : ["low", "high"])].map((name) => [name, form.elements[name].value]);
  remember(words);
  const target = new URL(location.href);
  target.pathname = "/tuning/brushed";
  let lit;
  try {
    const answer = await fetch(target);
    if (!answer.ok) throw new Error(`${target} answers ${answer.status}`);
    ({ lit } = await answer.json());
  } catch (error) {
    if (mine === asked) form.classList.add("stale");
    return;
  }
  if (mine === asked) light(lit);
}

// A box finds trials by their points; on the axes of parallel coordinates, too.
function followBox(event) {
  newWish();
  const found = new Set((event ? event.points : []).map((each) => each.customdata).filter((each) => each !== undefined && each !== null));
  const numbers = [...found].sort((one, other) => one - other);
  clearForm(document.getElementById("brush"));
  remember([["trials", numbers.join(",")]]);
  light(numbers.length ? numbers : null);
}

function watch(place) {
  if (!place.on || !place.data) return setTimeout(() => watch(place), 50);
  if (!place.data.some((each) => each.customdata)) return;
  Plotly.relayout(place, { dragmode: "select" }).then(() => {
    // Plotly says the same, without a box, when we take a box away.
    place.on("plotly_selected", (event) => event && (event.range || event.lassoPoints) && followBox(event));
    place.on("plotly_doubleclick", () => followBox(null));
    if (shown !== null) lightPlot(place, shown);
  });
}

document.addEventListener("DOMContentLoaded", () => {
  const form = document.getElementById("brush");
  if (!form) return;
  fitForm(form);
  if (form.dataset.lit !== undefined) shown = new Set(form.dataset.lit.split(",").filter(Boolean).map(Number));
  for (const place of document.querySelectorAll("[data-plot]")) watch(place);
  form.addEventListener("input", (event) => {
    const field = event.target;
    if (field.name === "brush") for (const name of ["low", "high", "is"]) form.elements[name].value = "";
    fitForm(form);
    clearTimeout(waiting);
    waiting = setTimeout(() => followForm(form), 150);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    followForm(form);
  });
  document.getElementById("clear-lit").addEventListener("click", (event) => {
    event.preventDefault();
    followBox(null);
  });
  document.getElementById("tick-lit").addEventListener("click", () => {
    for (const row of document.querySelectorAll("#trials tbody tr[data-trial]")) {
      const box = row.querySelector("input[form=compare]");
      if (box) box.checked = row.classList.contains("lit");
    }
  });
});
document.addEventListener("renewed", () => {
  if (document.getElementById("brush")) for (const place of plots()) lightPlot(place, shown);
});
