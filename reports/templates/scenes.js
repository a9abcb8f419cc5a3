// Surfaces that a reader can turn: drawn by plotly when a button asks for it. Without scripts the page has the pictures alone.
"use strict";
const scenes = {};

function addScene(name, scene) {
  scenes[name] = scene;
}

const loading = {};

function load(source) {
  loading[source] ??= new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = source;
    script.onload = done;
    script.onerror = () => failed(new Error(`${source} could not be loaded`));
    document.head.append(script);
  });
  return loading[source];
}

function look(scene) {
  const style = getComputedStyle(document.body);
  const axis = { color: style.color, gridcolor: "#9a9a9a", zeroline: false };
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", color: style.color, size: 12 },
    margin: { l: 0, r: 0, t: 0, b: 0 },
    legend: { x: 0, y: 1, title: { text: "Click a name to hide its surface" } },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: "#8a8a8a", activecolor: style.color },
    scene: {
      xaxis: { ...axis, title: { text: "a" } },
      yaxis: { ...axis, title: { text: "b" } },
      zaxis: { ...axis, title: { text: scene.label }, range: [scene.low, scene.high] },
      camera: { eye: { x: -1.35, y: -1.55, z: 0.85 }, center: { x: 0, y: 0, z: -0.12 } },
      aspectmode: "manual",
      aspectratio: { x: 1, y: 1, z: 0.8 },
    },
  };
}

function traces(scene) {
  return scene.surfaces.map((surface) => ({
    type: "surface",
    name: surface.name,
    x: surface.at,
    y: surface.at,
    z: surface.losses,
    colorscale: [[0, surface.colour], [1, surface.colour]],
    showscale: false,
    showlegend: true,
    opacity: 0.9,
    contours: { z: { show: true, usecolormap: false, color: "rgba(255,255,255,0.6)", width: 1 } },
    hovertemplate: `${surface.name}<br>a %{x:.2f}, b %{y:.2f}<br>${scene.label} %{z:.3f}<extra></extra>`,
  }));
}

async function show(button) {
  const place = button.parentElement.querySelector(".scene");
  const name = button.dataset.scene;
  button.disabled = true;
  try {
    await Promise.all([load("assets/plotly.min.js"), load(`figures/${name}.js`)]);
    place.hidden = false;
    await Plotly.newPlot(place, traces(scenes[name]), look(scenes[name]), { responsive: true, displaylogo: false });
    button.remove();
  } catch (error) {
    place.hidden = false;
    place.textContent = `The surfaces cannot be shown here: ${error.message}.`;
    button.disabled = false;
  }
}

for (const button of document.querySelectorAll("button[data-scene]")) {
  button.hidden = false;
  button.addEventListener("click", () => show(button));
}
