"use strict";
// Elements with data-live="SECONDS" are fetched again, with the page's own URL, as long as they say so.
function alive() {
  return [...document.querySelectorAll("[data-live]")].filter((each) => Number(each.dataset.live));
}

// A plot stays the same element, so that a zoom survives; only its numbers are new.
function renew(element, fresh) {
  for (const place of fresh.querySelectorAll("[data-plot]")) {
    const drawn = element.querySelector(`[data-plot="${place.dataset.plot}"]`);
    if (drawn) place.replaceWith(drawn);
  }
  for (const box of element.querySelectorAll("input[form]:checked")) {
    const same = fresh.querySelectorAll("input[form]");
    for (const each of same) if (each.value === box.value) each.checked = true;
  }
  element.replaceWith(fresh);
  drawCharts(fresh);
  document.dispatchEvent(new Event("renewed"));
}

async function look() {
  try {
    const asked = location.href;
    const answer = await fetch(asked, { headers: { "X-Live": "1" } });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (asked !== location.href) return; // a slider went on meanwhile
    for (const element of answer.ok ? alive() : []) {
      const fresh = page.getElementById(element.id);
      if (fresh && !element.contains(document.activeElement)) renew(element, document.adoptNode(fresh));
    }
  } catch (error) {
    for (const element of alive()) element.classList.add("stale");
  }
}

function keepLive() {
  const seconds = Math.min(...alive().map((each) => Number(each.dataset.live)));
  if (!Number.isFinite(seconds)) return;
  setTimeout(async () => {
    if (!document.hidden) await look();
    keepLive();
  }, seconds * 1000);
}
document.addEventListener("DOMContentLoaded", keepLive);
// A form with data-submit asks again as soon as something is chosen in it.
document.addEventListener("change", (event) => {
  const form = event.target.closest("form[data-submit]");
  if (form) form.requestSubmit();
});
