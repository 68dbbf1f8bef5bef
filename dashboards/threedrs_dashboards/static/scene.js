"use strict";
// Choosing a token replaces the two views alone; without this script the links load the whole page.
const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

function tokens() {
  return [...document.querySelectorAll("#views a[data-token]")];
}

// One token is in the order of Tab; arrow keys reach the others.
function setReachable() {
  for (const token of tokens()) {
    token.setAttribute("tabindex", token.hasAttribute("aria-current") ? "0" : "-1");
  }
}

function href(link) {
  return new URL(link.getAttribute("href"), location.href);
}

async function showViews(target, focus) {
  const views = document.getElementById("views");
  views.setAttribute("aria-busy", "true");
  const answer = await fetch(`/scenes/views${target.search}`);
  if (!answer.ok) {
    location.href = target.href;
    return;
  }
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = document.importNode(page.getElementById("views"), true);
  views.replaceWith(fresh);
  setReachable();
  if (focus) fresh.querySelector("a[aria-current]").focus();
  const hidden = document.querySelector("form.choices input[name=token]");
  hidden.value = target.searchParams.get("token");
  movePoint(fresh.dataset.place);
}

function movePoint(place) {
  const plot = document.querySelector("#chart-room [data-plot]");
  if (!plot || !plot.data) return;
  const trace = plot.data.findIndex((each) => each.name === "token");
  const [x, y, z] = place ? JSON.parse(place).map((value) => [[value]]) : [[[]], [[]], [[]]];
  Plotly.restyle(plot, { x, y, z }, [trace]);
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("#views a[data-token]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  history.pushState(null, "", href(link));
  showViews(href(link), true);
});

document.addEventListener("keydown", (event) => {
  const link = event.target.closest("#views a[data-token]");
  const step = STEPS[event.key];
  if (!link || !step) return;
  event.preventDefault();
  const [row, column] = link.dataset.token.split(",").map(Number);
  const next = document.querySelector(`#views a[data-token="${row + step[0]},${column + step[1]}"]`);
  if (!next) return;
  link.setAttribute("tabindex", "-1");
  next.setAttribute("tabindex", "0");
  next.focus();
});

window.addEventListener("popstate", () => location.reload());
document.addEventListener("DOMContentLoaded", setReachable);
