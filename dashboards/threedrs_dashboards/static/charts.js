"use strict";
// Draws every plot of the page from the JSON that stands beside it.
function drawCharts(root) {
  for (const place of root.querySelectorAll("[data-plot]")) {
    const source = document.getElementById(place.dataset.plot);
    const figure = JSON.parse(source.textContent);
    Plotly.newPlot(place, figure.data, figure.layout, {
      responsive: true,
      displaylogo: false,
      topojsonURL: "/static/",
      plotlyServerURL: "",
    }).then(() => place.setAttribute("data-drawn", ""));
  }
}
document.addEventListener("DOMContentLoaded", () => drawCharts(document));
