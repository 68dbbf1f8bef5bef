"use strict";
// A click on a point opens its scene; the table below the plot holds the same links.
document.addEventListener("DOMContentLoaded", () => {
  const place = document.querySelector("#chart-scatter [data-plot]");
  if (!place) return;
  const watch = () => {
    if (!place.on) return setTimeout(watch, 50);
    place.on("plotly_click", (event) => {
      const point = event.points[0];
      const target = new URL(document.getElementById("points").dataset.scenes, location.href);
      target.searchParams.set("scene", point.customdata[0]);
      if (point.text !== point.customdata[0]) target.searchParams.set("sample", point.text);
      location.href = target;
    });
  };
  watch();
});
