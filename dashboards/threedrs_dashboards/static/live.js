"use strict";
// An element with data-live="SECONDS" is fetched again, with the page's own URL, as long as it says so.
function keepLive(element) {
  const seconds = Number(element.dataset.live);
  if (!seconds) return;
  setTimeout(async () => {
    if (document.hidden || element.contains(document.activeElement)) return keepLive(element);
    try {
      const answer = await fetch(location.href, { headers: { "X-Live": "1" } });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById(element.id);
      if (answer.ok && fresh) {
        element.replaceWith(fresh);
        element = fresh;
      }
    } catch (error) {
      element.classList.add("stale");
    }
    keepLive(element);
  }, seconds * 1000);
}
document.addEventListener("DOMContentLoaded", () => {
  for (const element of document.querySelectorAll("[data-live]")) keepLive(element);
});
// A form with data-submit asks again as soon as something is chosen in it.
document.addEventListener("change", (event) => {
  const form = event.target.closest("form[data-submit]");
  if (form) form.requestSubmit();
});
