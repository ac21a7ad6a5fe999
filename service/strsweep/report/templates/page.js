"use strict";
(() => {
  const text = (id) => document.getElementById(id).textContent;

  /* plotly is packed, to keep the file small; every browser since 2023 can unpack it. */
  async function loadPlotly() {
    const packed = Uint8Array.from(atob(text("plotly").trim()), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
  }

  /* What all charts share, in the colours of the page. */
  function theme() {
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue("--" + name).trim();
    const axis = {
      color: color("soft"), gridcolor: color("line"), linecolor: color("line"), zeroline: false, automargin: true,
      title: { standoff: 10 },
    };
    return {
      layout: {
        height: 400, margin: { l: 56, r: 20, t: 48, b: 48 }, hovermode: "closest",
        showlegend: true, legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
        font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: color("ink") },
        hoverlabel: {
          bgcolor: color("card"), bordercolor: color("soft"), font: { color: color("ink") },
          align: "left", namelength: -1,
        },
        xaxis: axis, yaxis: axis,
      },
      data: {
        heatmap: [{
          xgap: 2, ygap: 1, textfont: { color: "#ffffff" },
          colorscale: [[0, "#2b3a55"], [0.4, "#3565b3"], [0.75, "#7a4fc0"], [1, "#c2418f"]],
          colorbar: { outlinewidth: 0, thickness: 14, tickfont: { color: color("soft") } },
        }],
      },
    };
  }

  /* A preview inside another page may open no window: then the address is shown, to be copied. */
  function open(address) {
    if (window === window.top) {
      window.open(address, "_blank", "noopener");
      return;
    }
    const code = document.createElement("code");
    code.textContent = address;
    const line = document.getElementById("address");
    line.replaceChildren("Links do not open in this preview. Copy the address: ", code);
    line.hidden = false;
    getSelection().selectAllChildren(code);
  }

  const config = { displaylogo: false, responsive: true, displayModeBar: false };

  async function draw() {
    await loadPlotly();
    const figures = JSON.parse(text("figures"));
    for (const [id, figure] of Object.entries(figures)) {
      const element = document.getElementById(id);
      const layout = { ...figure.layout, template: theme() };
      await Plotly.newPlot(element, figure.data, layout, config);
      element.on("plotly_click", ({ points: [point] }) => {
        const address = point.customdata || point.data.meta; /* of the point, or of its line */
        if (typeof address === "string" && address) open(address);
      });
    }
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      for (const id of Object.keys(figures)) Plotly.relayout(id, { template: theme() });
    });
    document.addEventListener("click", (event) => {
      const link = event.target.closest("a[target]");
      if (link && window !== window.top) {
        event.preventDefault();
        open(link.href);
      }
    });
    document.body.dataset.drawn = Object.keys(figures).length;
  }

  draw().catch((error) => {
    const line = document.getElementById("address");
    line.hidden = false;
    line.textContent = "The charts could not be drawn: " + error.message +
      ". A browser of 2023 or later is needed; the tables and the CSV files have every number.";
    console.error(error);
  });
})();
