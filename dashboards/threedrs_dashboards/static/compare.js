"use strict";
// Two sliders. The one over seeds: curves and answers follow it, the question stays. The one over
// steps of the training: a line in its curves, and the table below them. Without this script the
// form above chooses both.
const FOLLOWING = ["curves", "asked"];
const WORDS = { "seed-slider": "seed", "step-slider": "step" };

function slider(id) {
  return document.getElementById(id);
}

function showSliders() {
  for (const id of Object.keys(WORDS)) {
    const range = slider(id);
    if (range && Number(range.max) > (id === "seed-slider" ? 1 : 0)) range.closest("label").hidden = false;
  }
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

async function partOf(target) {
  const answer = await fetch(target);
  if (!answer.ok) return null;
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

async function followSeed(range) {
  const asked = document.getElementById("asked");
  const target = new URL(location.href);
  target.searchParams.set("seed", chosen(range));
  if (asked.dataset.sample) {
    target.searchParams.set("sample", asked.dataset.sample);
    target.searchParams.set("scene", asked.dataset.scene);
  }
  asked.setAttribute("aria-busy", "true");
  const page = await partOf(target);
  if (!page) {
    location.href = target.href;
    return;
  }
  remember(range, target);
  for (const id of FOLLOWING) renew(document.getElementById(id), document.importNode(page.getElementById(id), true));
  slider("seed-slider").focus();
}

function moveLine(step) {
  for (const place of document.querySelectorAll("#curves [data-plot]")) {
    if (!place.layout || place.layout.meta !== "finetune") continue;
    const line = { type: "line", x0: step, x1: step, y0: 0, y1: 1, yref: "paper", line: { color: place.layout.font.color, width: 1, dash: "dot" } };
    Plotly.relayout(place, { shapes: [line] });
  }
}

async function followStep(range) {
  const table = document.getElementById("at-step");
  const target = new URL(location.href);
  target.searchParams.set("step", chosen(range));
  remember(range, new URL(target));
  target.pathname = "/compare/step";
  table.setAttribute("aria-busy", "true");
  const part = await partOf(target);
  if (!part) {
    location.reload();
    return;
  }
  const fresh = part.getElementById("at-step");
  if (fresh.dataset.step !== chosen(range)) return; // the slider went on meanwhile
  document.getElementById("at-step").replaceWith(document.importNode(fresh, true));
}

document.addEventListener("input", (event) => {
  const range = event.target;
  if (!(range.id in WORDS)) return;
  range.nextElementSibling.textContent = chosen(range);
  range.setAttribute("aria-valuetext", chosen(range));
  if (range.id === "step-slider") moveLine(Number(chosen(range)));
});
document.addEventListener("change", (event) => {
  if (event.target.id === "seed-slider") followSeed(event.target);
  if (event.target.id === "step-slider") followStep(event.target);
});
document.addEventListener("DOMContentLoaded", showSliders);
document.addEventListener("renewed", showSliders);
