// The page of the view: options, markers, places, keys.
import { Sky, shade } from "./sky.js";
import { element, fillPanel, shortly } from "./panel.js";

const $ = (id) => document.getElementById(id);
const RINGS = 9;
const state = { about: null, sources: [], total: 0, picked: null, candidates: {}, rank: {}, hovered: null, range: null };
let sky;

async function ask(name, query = {}) {
  const response = await fetch(`${name}?${new URLSearchParams(query)}`);
  const answer = await response.json();
  if (answer.error) throw new Error(answer.error);
  return answer;
}

function complain(error) {
  $("message").textContent = error instanceof TypeError ? "The server does not answer: it has ended, or the tunnel to it is gone." : error.message;
  $("message").hidden = false;
}
const calm = () => { $("message").hidden = true; };

// ---- what is asked for of the picture ----

function look() {
  const n = Number($("mode").value);
  return { bands: [0, 1, 2].slice(0, n).map((i) => $(`band-${i}`).value), scale: $("scale").value };
}

function fillBands(mosaic) {
  for (const i of [0, 1, 2]) {
    $(`band-${i}`).replaceChildren(...mosaic.bands.map((band) => element("option", {}, band)));
    $(`band-${i}`).value = mosaic.colours[Math.min(i, mosaic.colours.length - 1)];
  }
  $("mode").value = String(mosaic.colours.length);
  showBands();
}

function showBands() {
  const one = $("mode").value === "1";
  for (const i of [1, 2]) $(`band-${i}`).parentElement.hidden = one;
  $("band-0").parentElement.firstChild.textContent = one ? "Band " : "Red ";
}

function filter() {
  $("sky").style.filter = `brightness(${$("brightness").value}) contrast(${$("contrast").value})`;
}

// ---- mosaics and places ----

async function openMosaic(name) {
  const mosaic = await ask("mosaic", { mosaic: name });
  Object.assign(state, { sources: [], total: 0, hovered: null });
  fillBands(mosaic);
  $("mosaic").value = name;
  await sky.open(mosaic, look());
  drawCompass();
  changed();
}

async function goTo(place, pixelSize) {
  if (sky.mosaic?.name !== place.mosaic) await openMosaic(place.mosaic);
  if (place.x === undefined) return;
  sky.centreOn(place.x, place.y, pixelSize ?? Math.max(sky.pixelSize(), 2));
  state.mark = { x: place.x, y: place.y };
  changed();
}

async function go(event) {
  event.preventDefault();
  try {
    const place = await ask("go", { to: $("to").value });
    calm();
    if (!place.id) closePanel();
    await goTo(place);
    if (place.id) show(place);
  } catch (error) { complain(error); }
}

// ---- sources ----

let asked = 0, waiting = 0;
function changed() {
  if (!sky.mosaic) return;
  draw();
  drawRuler();
  clearTimeout(waiting);
  waiting = setTimeout(readSources, 180);
}

async function readSources() {
  if (!$("show").checked || !sky.mosaic) return;
  const number = (asked += 1);
  const query = { mosaic: sky.mosaic.name, ...sky.seen(), by: $("by").value, where: $("where").value };
  if ($("least").value !== "") query.least = $("least").value;
  $("stage").setAttribute("aria-busy", "true");
  try {
    const { sources, rows } = await ask("sources", query);
    if (number !== asked) return;
    Object.assign(state, { sources, total: rows });
    $("where-error").textContent = "";
    const left = rows - sources.length;
    $("count").textContent = `${rows.toLocaleString("en")} here` + (left ? `: the ${sources.length.toLocaleString("en")} best are drawn, ${left.toLocaleString("en")} are not` : "");
  } catch (error) {
    if (number !== asked) return;
    Object.assign(state, { sources: [], total: 0 });
    $("count").textContent = "";
    $("where-error").textContent = error instanceof TypeError ? "The server does not answer." : error.message;
  }
  $("stage").removeAttribute("aria-busy");
  ranges();
  draw();
}

function value(source) {
  const name = $("colour").value;
  if (!name) return null;
  return name.startsWith("flux_") ? source.mags[name.slice(5)] : source.scores[name];
}

function ranges() {
  const values = state.sources.map(value).filter((one) => one !== null);
  const isProbability = /_(prob|score)$/.test($("colour").value);
  state.range = isProbability ? [0, 1] : values.length ? [Math.min(...values), Math.max(...values)] : null;
  $("ramp").hidden = !$("colour").value || !state.range;
  if (state.range) {
    $("ramp-low").textContent = state.range[0].toPrecision(3).replace(/\.?0+$/, "") || "0";
    $("ramp-high").textContent = state.range[1].toPrecision(3).replace(/\.?0+$/, "");
  }
}

function draw() {
  const canvas = $("markers"), ratio = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    Object.assign(canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  if ($("show").checked) for (const source of state.sources) drawSource(context, source);
  const chosen = state.picked?.mosaic === sky.mosaic.name ? state.picked : state.mark;
  if (chosen) drawCross(context, ...sky.toScreen(chosen.x, chosen.y));
}

function drawSource(context, source) {
  const [x, y] = sky.toScreen(source.x, source.y);
  const number = value(source), span = state.range ? state.range[1] - state.range[0] || 1 : 1;
  context.globalAlpha = source.primary ? 1 : 0.4;
  const radius = 3.5 + (RINGS - 3.5) * Math.min(sky.pixelSize(), 1) + (source === state.hovered ? 4 : 0);
  for (const [colour, line] of [["rgba(0,0,0,.7)", 3.4], [number === null || !state.range ? ($("colour").value ? "#b9bec8" : "#5fe0c8") : shade((number - state.range[0]) / span), 1.7]]) {
    context.beginPath();
    context.setLineDash(source.primary ? [] : [3, 3]);
    context.arc(x, y, radius, 0, 2 * Math.PI);
    Object.assign(context, { strokeStyle: colour, lineWidth: line });
    context.stroke();
  }
  context.globalAlpha = 1;
  context.setLineDash([]);
}

function drawCross(context, x, y) {
  for (const [colour, line] of [["#000", 4], ["#fff", 2]]) {
    context.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x + dx * 14, y + dy * 14);
      context.lineTo(x + dx * 26, y + dy * 26);
    }
    Object.assign(context, { strokeStyle: colour, lineWidth: line });
    context.stroke();
  }
}

function nearest(px, py, reach = 16) {
  let best = null, least = reach;
  for (const source of $("show").checked ? state.sources : []) {
    const [x, y] = sky.toScreen(source.x, source.y);
    const distance = Math.hypot(x - px, y - py);
    if (distance < least) [best, least] = [source, distance];
  }
  return best;
}

let shown = 0;
async function show(source) {
  const number = (shown += 1);
  try {
    const whole = source.columns ? source : await ask("source", { id: source.id });
    if (number !== shown) return;
    state.picked = whole;
    fillPanel($("panel"), whole, { path: state.about.path, copied: copy, close: closePanel });
    draw();
  } catch (error) { complain(error); }
}

function closePanel() {
  shown += 1;
  $("panel").hidden = true;
  state.picked = state.mark = null;
  draw();
}

async function copy(what, text) {
  try {
    await navigator.clipboard.writeText(text);
    say(`Copied: ${text}`);
  } catch { say(`Copy it from here: ${text}`); }
}

let saying = 0;
function say(text) {
  $("said").textContent = text;
  clearTimeout(saying);
  saying = setTimeout(() => { $("said").textContent = ""; }, 4000);
}

// one after another, however fast the keys are pressed
let steps = Promise.resolve();
const step = (by) => (steps = steps.then(() => takeStep(by)));

async function takeStep(by) {
  const of = $("ranking").value;
  if (!of) return;
  try {
    state.candidates[of] ??= await ask("candidates", { of });
    const list = state.candidates[of];
    if (!list.length) { $("rank").textContent = "No source is inside of the domain of this model."; return; }
    const rank = (state.rank[of] = Math.min(Math.max((state.rank[of] ?? -1) + by, 0), list.length - 1));
    $("rank").textContent = `${rank + 1} of the best ${list.length}: ${of}_logit order, inside of the model's domain`;
    calm();
    await goTo(list[rank], Math.max(sky.pixelSize(), 4));
    await show(list[rank]);
  } catch (error) { complain(error); }
}

// ---- compass, ruler, cursor ----

function drawCompass() {
  const arrows = sky.compass().map(([x, y], i) => {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", `M0 0L${17 * x} ${17 * y}`);
    const text = document.createElementNS("http://www.w3.org/2000/svg", "text");
    text.setAttribute("x", 24 * x);
    text.setAttribute("y", 24 * y);
    text.textContent = "NE"[i];
    return [path, text];
  });
  $("compass").replaceChildren(...arrows.flat());
}

function drawRuler() {
  const perScreen = sky.mosaic.scale / sky.pixelSize();
  const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 18000, 36000];
  const length = steps.findLast((one) => one / perScreen <= 160) ?? steps[0];
  $("ruler").style.width = `${length / perScreen}px`;
  $("ruler-text").textContent = length < 60 ? `${length}″` : length < 3600 ? `${length / 60}′` : `${length / 3600}°`;
}

let cursorBusy = false, cursorNext = null;
async function cursor(x, y) {
  cursorNext = [x, y];
  if (cursorBusy) return;
  cursorBusy = true;
  while (cursorNext) {
    const [px, py] = cursorNext;
    cursorNext = null;
    const { mosaic } = sky;
    const inside = px >= -0.5 && py >= -0.5 && px <= mosaic.nx - 0.5 && py <= mosaic.ny - 0.5;
    let text = "";
    try {
      const place = inside ? await ask("cursor", { mosaic: mosaic.name, x: px.toFixed(2), y: py.toFixed(2) }) : null;
      if (place?.hms) text = `${place.ra.toFixed(6)} ${place.dec.toFixed(6)}  ·  ${place.hms}  ·  x ${px.toFixed(1)} y ${py.toFixed(1)}`;
    } catch { text = ""; }
    $("cursor").textContent = text;
  }
  cursorBusy = false;
}

function hover(event) {
  if (!sky.mosaic) return;
  const box = $("stage").getBoundingClientRect();
  const [px, py] = [event.clientX - box.left, event.clientY - box.top];
  cursor(...sky.toPixel(px, py));
  const found = nearest(px, py);
  if (found !== state.hovered) { state.hovered = found; draw(); }
  $("tip").hidden = !found;
  if (!found) return;
  const text = shortly(found);
  $("tip").textContent = [found.id + (found.primary ? "" : "  not primary"), found.hms, text.mags, text.scores].filter(Boolean).join("\n");
  $("tip").style.left = `${Math.max(Math.min(px + 16, box.width - $("tip").offsetWidth - 6), 6)}px`;
  $("tip").style.top = `${Math.max(Math.min(py + 16, box.height - $("tip").offsetHeight - 6), 6)}px`;
}

// ---- keys, options, start ----

function toggleOptions() {
  $("options").hidden = !$("options").hidden;
  $("toggle-options").setAttribute("aria-expanded", String(!$("options").hidden));
}

const KEYS = {
  n: () => step(1), p: () => step(-1), g: () => $("to").focus(), o: toggleOptions, Escape: closePanel,
  s: () => { $("show").checked = !$("show").checked; changed(); },
  c: () => { const found = nearest($("stage").clientWidth / 2, $("stage").clientHeight / 2, Infinity); if (found) show(found); },
  0: () => sky.viewer.viewport.goHome(), 1: () => sky.viewer.viewport.zoomBy(1 / sky.pixelSize()),
  "+": () => sky.viewer.viewport.zoomBy(1.5), "=": () => sky.viewer.viewport.zoomBy(1.5), "-": () => sky.viewer.viewport.zoomBy(1 / 1.5),
  ArrowLeft: () => pan(-1, 0), ArrowRight: () => pan(1, 0), ArrowUp: () => pan(0, -1), ArrowDown: () => pan(0, 1),
};

function pan(right, down) {
  const { clientWidth: width, clientHeight: height } = $("stage");
  const [x, y] = sky.toPixel(width / 2 + (right * width) / 5, height / 2 + (down * height) / 5);
  sky.viewer.viewport.panTo(new OpenSeadragon.Point((x + 0.5) / sky.mosaic.nx, (y + 0.5) / sky.mosaic.nx));
}

function key(event) {
  const field = event.target.closest("input, select, textarea");
  if (event.ctrlKey || event.metaKey || event.altKey || !sky.mosaic) return;
  if (event.key === "Escape" && field) { field.blur(); return; }
  if (field || !(event.key in KEYS)) return;
  event.preventDefault();
  KEYS[event.key]();
}

function theme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  return dark ? "dark" : "light";
}

function connect() {
  $("go").addEventListener("submit", go);
  $("mosaic").addEventListener("focus", () => $("mosaic").select());
  $("mosaic").addEventListener("change", () => {
    if (state.about.mosaics.includes($("mosaic").value)) { closePanel(); openMosaic($("mosaic").value).then(calm, complain); }
    else complain(new Error(`There is no mosaic ${$("mosaic").value} in this run.`));
  });
  for (const id of ["show", "by", "least", "where"]) $(id).addEventListener("change", changed);
  $("colour").addEventListener("change", () => { ranges(); draw(); });
  for (const id of ["mode", "band-0", "band-1", "band-2", "scale"]) $(id).addEventListener("change", () => { showBands(); sky.relook(look()); });
  for (const id of ["brightness", "contrast"]) $(id).addEventListener("input", filter);
  $("reset").addEventListener("click", () => {
    for (const id of ["brightness", "contrast"]) $(id).value = "1";
    $("scale").value = "report";
    filter();
    fillBands(sky.mosaic);
    sky.relook(look());
  });
  $("next").addEventListener("click", () => step(1));
  $("previous").addEventListener("click", () => step(-1));
  $("ranking").addEventListener("change", () => { $("rank").textContent = ""; });
  $("in").addEventListener("click", KEYS["+"]);
  $("out").addEventListener("click", KEYS["-"]);
  $("home").addEventListener("click", KEYS[0]);
  $("toggle-options").addEventListener("click", toggleOptions);
  $("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = theme() === "dark" ? "light" : "dark";
    $("theme").textContent = theme() === "dark" ? "Light" : "Dark";
  });
  document.addEventListener("keydown", key);
  $("sky").addEventListener("pointermove", hover);
  $("sky").addEventListener("pointerleave", () => { $("tip").hidden = true; $("cursor").textContent = ""; state.hovered = null; });
  sky.viewer.addHandler("canvas-key", (event) => { event.preventDefaultAction = true; });
  sky.viewer.addHandler("canvas-click", (event) => {
    if (!event.quick) return;
    const box = $("stage").getBoundingClientRect();
    const found = nearest(event.originalEvent.clientX - box.left, event.originalEvent.clientY - box.top, 22);
    if (found) show(found);
  });
}

async function start() {
  sky = new Sky($("sky"), changed);
  window.surveySky = sky;
  $("theme").textContent = theme() === "dark" ? "Light" : "Dark";
  if (matchMedia("(max-width: 45rem)").matches) toggleOptions();
  try {
    const about = (state.about = await ask("catalog"));
    document.title = `${about.name}: view`;
    $("name").textContent = `${about.name} · ${about.rows.toLocaleString("en")} sources`;
    $("mosaic-names").replaceChildren(...about.mosaics.map((name) => element("option", { value: name })));
    $("mosaic-choice").hidden = about.mosaics.length < 2;
    const label = (name) => (name.startsWith("flux_") ? `brightest in ${name.slice(5)}` : name);
    $("by").replaceChildren(...about.orders.map((name) => element("option", { value: name }, label(name))));
    $("by").value = ["flux_i", "flux_r"].find((name) => about.orders.includes(name)) ?? about.orders[0];
    const colours = about.orders.map((name) => element("option", { value: name }, name.startsWith("flux_") ? `magnitude ${name.slice(5)}` : name));
    $("colour").replaceChildren(element("option", { value: "" }, "nothing"), ...colours);
    $("ranking").replaceChildren(...about.rankings.map((name) => element("option", {}, name)));
    $("candidates").hidden = !about.rankings.length;
    $("scale").replaceChildren(...about.scales.map((name) => element("option", { value: name }, name)));
    $("scale").value = "report";
    connect();
    await goTo(about.start);
  } catch (error) { complain(error); }
}

start();
