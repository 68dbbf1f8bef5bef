"use strict";
// Two sliders, which stay in sight beside what follows them. The one over seeds: curves and answers follow it, the question stays. The one over
// steps of the training: a line in its curves, and the table below them. Without this script the
// form above chooses both.
const FOLLOWING = ["sliders", "curves", "asked"];
const WORDS = { "seed-slider": "seed", "step-slider": "step" };

function slider(id) {
  return document.getElementById(id);
}

function showSliders() {
  for (const id of Object.keys(WORDS)) {
    const range = slider(id);
    if (range && Number(range.max) > (id === "seed-slider" ? 1 : 0)) range.closest("label").hidden = range.closest(".sliders").hidden = false;
  }
  if (slider("step-slider")) offerSteps(slider("step-slider").dataset.values.split(","));
}

// The form knows no steps, or not all, where a training went on after the page was opened.
function offerSteps(steps) {
  const field = document.querySelector("form.choices [name=step]");
  field.min = steps[0];
  field.max = field.placeholder = steps.at(-1);
  field.disabled = false;
  field.closest("label").hidden = false;
}

function chosen(range) {
  return range.dataset.values.split(",")[Number(range.value)];
}

// The URL and the form say what the slider shows.
function remember(range, target) {
  const word = WORDS[range.id];
  target.searchParams.set(word, chosen(range));
  history.replaceState(null, "", target);
  document.querySelector(`form.choices [name=${word}]`).value = chosen(range);
}

// A part of a page. Null where there is none: of what the server refuses `page` tells why, and where
// it cannot be reached the element is marked.
async function partOf(target, page, element) {
  element.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(target);
    const text = await answer.text();
    if (answer.ok) return new DOMParser().parseFromString(text, "text/html");
    location.assign(page);
  } catch (error) {
    element.classList.add("stale");
  }
  element.removeAttribute("aria-busy");
  return null;
}

function seedTarget(seed) {
  const { sample, scene } = document.getElementById("asked").dataset;
  const target = new URL(location.href);
  target.searchParams.set("seed", seed);
  if (sample) {
    target.searchParams.set("sample", sample);
    target.searchParams.set("scene", scene);
  }
  return target;
}

async function followSeed() {
  const [seed, before] = [chosen(slider("seed-slider")), location.search];
  const target = seedTarget(seed);
  const page = await partOf(target, target, document.getElementById("asked"));
  if (!page || seed !== chosen(slider("seed-slider"))) return; // the slider went on meanwhile
  if (location.search !== before) return followSeed(); // the other one did
  remember(slider("seed-slider"), target);
  const focused = document.activeElement.id;
  for (const id of FOLLOWING) renew(document.getElementById(id), document.importNode(page.getElementById(id), true));
  if (focused in WORDS) slider(focused).focus();
}

function moveLine(step) {
  for (const place of document.querySelectorAll("#curves [data-plot]")) {
    if (!place.layout || place.layout.meta !== "finetune") continue;
    const line = { type: "line", x0: step, x1: step, y0: 0, y1: 1, yref: "paper", line: { color: place.layout.font.color, width: 1, dash: "dot" } };
    Plotly.relayout(place, { shapes: [line] });
  }
}

// Numbers and line are of the same step, in plots that are drawn anew, too.
function keepLine() {
  const table = document.getElementById("at-step");
  if (table && new URLSearchParams(location.search).get("step")) moveLine(Number(table.dataset.step));
}

async function followStep(range) {
  const target = new URL(location.href);
  target.searchParams.set("step", chosen(range));
  remember(range, new URL(target));
  const before = location.search;
  target.pathname = "/compare/step";
  const part = await partOf(target, location.pathname + before, document.getElementById("at-step"));
  if (!part || location.search !== before) return; // a slider went on meanwhile
  document.getElementById("at-step").replaceWith(document.importNode(part.getElementById("at-step"), true));
}

document.addEventListener("input", (event) => {
  const range = event.target;
  if (!(range.id in WORDS)) return;
  range.nextElementSibling.textContent = chosen(range);
  range.setAttribute("aria-valuetext", chosen(range));
  if (range.id === "step-slider") moveLine(Number(chosen(range)));
});
document.addEventListener("change", (event) => {
  if (event.target.id === "seed-slider") followSeed();
  if (event.target.id === "step-slider") followStep(event.target);
});
document.addEventListener("DOMContentLoaded", showSliders);
document.addEventListener("renewed", () => {
  showSliders();
  keepLine();
});
