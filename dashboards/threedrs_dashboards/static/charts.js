"use strict";
// Draws every plot of the page from the JSON that stands beside it, in the colours of the page.
const DARK = {
  "#ffffff": "#161c26", "#1c2430": "#e4e9f1", "#eef1f5": "#1f2733",
  "#2f6db3": "#6ea8e6", "#c2571a": "#ec8a52", "#2e7d4f": "#5fbb85", "#8a4fa3": "#c08ad8",
  "#8d96a5": "#a3adbc", "#14833b": "#4fb874", "#c81e2e": "#f2757f", "#2166d1": "#7db4f0", "#6b5300": "#e5cf86",
  "rgba(255,255,255,0.8)": "rgba(22,28,38,0.8)",
  "#a67c00": "#d9ae2f", "#465069": "#9aa7c2", "#12858a": "#46bcc2", "#a3123f": "#ef6d94",
};
const AXIS = { gridcolor: "#303a49", zerolinecolor: "#465266", linecolor: "#465266" };

function figureOf(place) {
  let text = document.getElementById(place.dataset.plot).textContent;
  if (!matchMedia("(prefers-color-scheme: dark)").matches) return JSON.parse(text);
  for (const [light, dark] of Object.entries(DARK)) text = text.replaceAll(light, dark);
  const figure = JSON.parse(text);
  const template = { layout: { xaxis: { ...AXIS, title: { standoff: 6 } }, yaxis: { ...AXIS, title: { standoff: 8 }, automargin: true } } };
  figure.layout = { ...figure.layout, template };
  return figure;
}

function drawCharts(root) {
  const drawn = [...root.querySelectorAll("[data-plot]")].map((place) => {
    const figure = figureOf(place);
    const options = { responsive: true, displaylogo: false, topojsonURL: "/static/", plotlyServerURL: "" };
    return Plotly.react(place, figure.data, figure.layout, options).then(() =>
      place.setAttribute("data-drawn", ""),
    );
  });
  return Promise.all(drawn);
}
// What other scripts have drawn into the plots is theirs to draw again.
async function changeColours() {
  await drawCharts(document);
  document.dispatchEvent(new Event("renewed"));
}
document.addEventListener("DOMContentLoaded", () => drawCharts(document));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changeColours);
