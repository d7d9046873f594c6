// What the reader moves: switches, steps, keys, the pointer, the address.

// Where everything stands. y, x, i, j, c, m are the product under the cursor; the step is its window or its tap.
const S = {
  tab: "convolution", kind: "standard", view: "window", way: "forward",
  stride: 1, padding: "none", dilation: 1, side: 6,
  y: 0, x: 0, i: 0, j: 0, c: 0, m: 0, block: 2, stage: 0,
  pixels: 28, C: 192, M: 192, K: 3, t: 6, width: 1, resolution: 224,
};

const SWITCHES = {
  kind: {key: "k", values: ["standard", "depthwise", "pointwise"], tabs: ["convolution"]},
  view: {key: "v", values: ["window", "tap"], tabs: ["convolution"]},
  way: {key: "b", values: ["forward", "backward"], tabs: ["convolution", "block"]},
  stride: {key: "s", values: [1, 2], tabs: ["convolution", "paddings"], label: "stride"},
  padding: {key: "p", values: ["none", "PyTorch", "TensorFlow"], tabs: ["convolution"], label: "padding"},
  dilation: {key: "d", values: [1, 2], tabs: ["convolution", "paddings"], label: "dilation"},
  side: {key: "i", values: [6, 5], tabs: ["convolution", "paddings"], label: "side"},
};

// A pointwise convolution has one tap, and takes every pixel as it is.
const hasNot = name =>
  S.kind === "pointwise" && S.tab === "convolution" && ["stride", "padding", "dilation"].includes(name);

// A view draws itself, and says how many steps it has, which one it is at, and how to go to another.
const toWindow = n => ([S.y, S.x] = [Math.floor(n / windowSide()), n % windowSide()]);
const windowSide = () => S.tab === "paddings" ? Math.max(...paddingPair().map(conv => conv.g.out)) : geometry(S).out;
const byTap = () => S.view === "tap" && S.tab === "convolution";
const sliding = {
  count: () => (byTap() ? geometry(S).kernel : windowSide()) ** 2,
  at: () => (byTap() ? S.i * geometry(S).kernel + S.j : S.y * windowSide() + S.x),
  go: n => byTap() ? ([S.i, S.j] = [Math.floor(n / geometry(S).kernel), n % geometry(S).kernel]) : toWindow(n),
};
const VIEWS = {
  convolution: {draw: drawConvolution, ...sliding},
  paddings: {draw: drawPaddings, ...sliding},
  block: {draw: drawBlock, count: () => stages(DATA.blocks[S.block]).length, at: () => S.stage, go: n => (S.stage = n)},
  costs: {draw: drawCosts, count: () => 1, at: () => 0, go: () => {}},
};

// The cursor stays where it was as far as the new sizes have such a place.
function clamp() {
  const {out, kernel} = S.tab === "paddings" ? {out: windowSide(), kernel: DATA.kernel} : geometry(S);
  const within = (name, size) => (S[name] = bounded(S[name], size));
  within("y", out), within("x", out), within("i", kernel), within("j", kernel);
  if (S.kind === "depthwise" && S.tab === "convolution") S.m = S.c;
  within("stage", stages(DATA.blocks[S.block]).length);
}

function draw() {
  clamp();
  for (const tab of Object.keys(VIEWS)) element(tab).hidden = tab !== S.tab;
  for (const button of document.querySelectorAll("[data-tab]"))
    button.setAttribute("aria-selected", button.dataset.tab === S.tab);
  for (const group of document.querySelectorAll("[data-switch]")) {
    const name = group.dataset.switch, isOff = hasNot(name);
    group.hidden = !SWITCHES[name].tabs.includes(S.tab);
    group.title = isOff ? "A pointwise convolution has one tap, and takes every pixel as it is." : "";
    for (const button of group.querySelectorAll("button")) {
      button.disabled = isOff;
      button.setAttribute("aria-pressed", !isOff && button.textContent === String(S[name]));
    }
  }
  element("break").hidden = S.tab !== "convolution";
  element("steps").hidden = S.tab === "costs";
  element("block-slider").value = S.block;
  VIEWS[S.tab].draw();
}

function set(changes) {
  Object.assign(S, changes);
  draw();
}

// -- steps

let timer = null;

function run(isRunning) {
  clearInterval(timer);
  timer = isRunning ? setInterval(() => (go(1) || run(false)), 900) : null;
  element("run").setAttribute("aria-pressed", isRunning);
  element("run").innerHTML = `<kbd>Space</kbd> ${isRunning ? "stop" : "run"}`;
}

// Goes on by some steps; false at the end.
function go(by) {
  const {count, at, go} = VIEWS[S.tab], to = at() + by;
  if (to < 0 || to >= count()) return false;
  go(to);
  draw();
  return true;
}

function toggleRun() {
  if (timer === null && VIEWS[S.tab].at() === VIEWS[S.tab].count() - 1) VIEWS[S.tab].go(0), draw();
  run(timer === null);
}

// -- keys

const bounded = (value, size) => Math.min(Math.max(value, 0), size - 1);
const next = (values, value) => values[(values.indexOf(value) + 1) % values.length];

function toggleHelp() {
  element("keys").hidden = !element("keys").hidden;
  element("help").setAttribute("aria-expanded", !element("keys").hidden);
}

// Moves the cursor inside the step: the tap of a window, or the window of a tap.
function moveCursor(rows, columns) {
  const [a, b] = byTap() ? ["y", "x"] : ["i", "j"], {out, kernel} = geometry(S), size = byTap() ? out : kernel;
  set({[a]: bounded(S[a] + rows, size), [b]: bounded(S[b] + columns, size)});
}

function onKey(event) {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const {key, target} = event, isSlider = target.type === "range", low = key.toLowerCase();
  const arrows = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]}[key];
  if (isSlider && (arrows || ["Home", "End", "PageUp", "PageDown"].includes(key))) return;
  if (key === " " && ["BUTTON", "INPUT"].includes(target.tagName)) return; // the button's own key
  const chosen = Object.keys(SWITCHES).find(name => SWITCHES[name].key === low);
  const filters = S.kind === "depthwise" ? DATA.x[0][0].length : DATA.dout[0][0].length;
  if (arrows && event.shiftKey && S.tab === "convolution") moveCursor(...arrows);
  else if (arrows && arrows[1]) run(false), go(arrows[1]);
  else if (arrows && S.tab === "block") set({block: bounded(S.block + arrows[0], DATA.blocks.length)});
  else if (key === "Home") go(-VIEWS[S.tab].at());
  else if (key === "End") go(VIEWS[S.tab].count() - 1 - VIEWS[S.tab].at());
  else if (key === " ") toggleRun();
  else if (key === "?") toggleHelp();
  else if (Object.keys(VIEWS)[Number(key) - 1]) openTab(Object.keys(VIEWS)[Number(key) - 1]);
  else if (chosen && !hasNot(chosen) && SWITCHES[chosen].tabs.includes(S.tab))
    set({[chosen]: next(SWITCHES[chosen].values, S[chosen])});
  else if (low === "c" && S.tab === "convolution") set({c: (S.c + 1) % DATA.x[0][0].length});
  else if (low === "m" && S.tab === "convolution")
    set(S.kind === "depthwise" ? {c: (S.c + 1) % filters} : {m: (S.m + 1) % filters});
  else return;
  event.preventDefault();
}

function openTab(tab) {
  run(false);
  set({tab});
}

// -- the pointer

// What a cell says about the cursor.
function meantBy(cell) {
  const {array, place} = cell.dataset, isDepthwise = S.kind === "depthwise";
  const [a, b, c, d, e, f] = place.split(",").map(Number);
  if (cell.classList.contains("product")) return {y: a, x: b, m: c, i: d, j: e, c: f};
  if (array.endsWith("w")) return {i: a, j: b, c, ...(isDepthwise ? {} : {m: d})};
  if (array.endsWith("out")) return {y: a, x: b, ...(isDepthwise ? {c} : {m: c})};
  return seen(a, b, c);
}

// A pixel of xp: which tap of the window, or which window of the tap, lies on it.
function seen(p, q, c) {
  if (S.tab !== "convolution") return {};
  const conv = convolution(S);
  const one = conv.steps[stepOf(conv, S)].find(part => part.p === p && part.q === q && part.c === c);
  return one ? {y: one.y, x: one.x, i: one.i, j: one.j, c} : {};
}

// The pointer moves the cursor inside the step; a click goes to another step too.
function point(event) {
  const cell = event.target.closest("[data-place]");
  if (!cell) return;
  const ofStep = byTap() ? ["i", "j"] : ["y", "x"];
  const kept = Object.entries(meantBy(cell)).filter(([name]) => event.type === "click" || !ofStep.includes(name));
  if (kept.some(([name, value]) => S[name] !== value)) set(Object.fromEntries(kept));
}

// -- the address: play.html#tab=block&way=backward

function readAddress() {
  const wrong = [];
  for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
    if (name === "selftest") continue;
    const found = inAddress(name, value);
    if (found === undefined) wrong.push(`${name}=${value}`);
    else S[name] = found;
  }
  if (wrong.length) fail(`The address has settings that the page has not: ${wrong.join(", ")}`);
}

const LAST = {y: 5, x: 5, i: 2, j: 2, c: 1, m: 2, block: 16, stage: 3};

// The value of a setting as the page has it; undefined if there is none such.
function inAddress(name, value) {
  if (name === "tab") return Object.keys(VIEWS).find(tab => tab === value);
  if (name in SWITCHES) return SWITCHES[name].values.find(one => String(one) === value);
  const {least, most, step} = SLIDERS[name] ?? {least: 0, most: LAST[name] ?? -1, step: 1};
  const number = Number(value), steps = (number - least) / step;
  const isThere = value !== "" && number >= least && number <= most && Math.abs(steps - Math.round(steps)) < 1e-6;
  return isThere ? number : undefined;
}

function fail(message) {
  element("error").hidden = false;
  element("error").textContent += `${message} `;
}

// -- the beginning

function build() {
  const groups = Object.entries(SWITCHES).map(([name, {key, values, label}]) => `<div class="switch" role="group"
    aria-label="${name}" data-switch="${name}"><kbd>${key.toUpperCase()}</kbd>${label ? `<span>${label}</span>` : ""}
    ${values.map(value => `<button>${value}</button>`).join("")}</div>`);
  const steps = `<div class="switch" id="steps" role="group" aria-label="steps">
    <button id="back" aria-label="step back"><kbd>←</kbd></button>
    <button id="on" aria-label="step on"><kbd>→</kbd></button>
    <button id="run" aria-pressed="false"><kbd>Space</kbd> run</button></div>`;
  const newLine = '<span id="break"></span>';
  element("switches").innerHTML = [steps, ...groups.slice(0, 3), newLine, ...groups.slice(3)].join("");
  element("layer-sliders").innerHTML = sliders(["pixels", "C", "M", "K"]);
  element("block-sliders").innerHTML = sliders(["t"]);
  element("network-sliders").innerHTML = sliders(["width", "resolution"]);
  element("switches").addEventListener("click", event => {
    const button = event.target.closest("button"), group = event.target.closest("[data-switch]");
    if (!button || !group) return;
    const {switch: name} = group.dataset;
    set({[name]: SWITCHES[name].values.find(value => String(value) === button.textContent)});
  });
  element("tabs").addEventListener("click", event => {
    const button = event.target.closest("[data-tab]");
    if (button) openTab(button.dataset.tab);
  });
  element("back").onclick = () => (run(false), go(-1));
  element("on").onclick = () => (run(false), go(1));
  element("run").onclick = toggleRun;
  element("help").onclick = toggleHelp;
  element("block-slider").oninput = event => set({block: Number(event.target.value)});
  element("costs").addEventListener("input", event => set({[event.target.dataset.slider]: Number(event.target.value)}));
  document.querySelector("main").addEventListener("pointerover", point);
  document.querySelector("main").addEventListener("click", point);
  document.addEventListener("keydown", onKey);
}

window.onerror = message => fail(`Error: ${message}`);
readAddress();
build();
draw();
if (location.hash === "#selftest") selftest();
