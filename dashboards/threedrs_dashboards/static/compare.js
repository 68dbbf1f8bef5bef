"use strict";
// A slider over seeds: curves and answers follow it, the question stays. Without this script the
// form above chooses the seed.
const FOLLOWING = ["curves", "asked"];

function slider() {
  return document.getElementById("seed-slider");
}

function showSlider() {
  const range = slider();
  if (range && Number(range.max) > 1) range.closest("label").hidden = false;
}

function chosenSeed(range) {
  return range.dataset.values.split(",")[Number(range.value)];
}

async function followSeed(range) {
  const asked = document.getElementById("asked");
  const target = new URL(location.href);
  target.searchParams.set("seed", chosenSeed(range));
  target.searchParams.set("sample", asked.dataset.sample);
  target.searchParams.set("scene", asked.dataset.scene);
  asked.setAttribute("aria-busy", "true");
  const answer = await fetch(target);
  if (!answer.ok) {
    location.href = target.href;
    return;
  }
  history.replaceState(null, "", target);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const id of FOLLOWING) renew(document.getElementById(id), document.importNode(page.getElementById(id), true));
  const select = document.querySelector("form.choices select[name=seed]");
  select.value = chosenSeed(range);
  showSlider();
  slider().focus();
}

document.addEventListener("input", (event) => {
  if (event.target !== slider()) return;
  event.target.nextElementSibling.textContent = chosenSeed(event.target);
});
document.addEventListener("change", (event) => {
  if (event.target === slider()) followSeed(event.target);
});
document.addEventListener("DOMContentLoaded", showSlider);
