// play.html#selftest: does the page compute, and show, what NumPy computed? The outcome goes into the document.

const CONVOLUTION = ["side", "kind", "stride", "padding", "dilation"];

function selftest() {
  const failures = [], steps = [];
  let checks = 0;
  const same = (what, found, expected) => {
    checks += 1;
    if (JSON.stringify(found) !== JSON.stringify(expected))
      failures.push(`${what}: found ${JSON.stringify(found)}, expected ${JSON.stringify(expected)}`);
  };
  window.onerror = message => failures.push(`error: ${message}`);

  for (const expected of DATA.settings) checkSetting(expected, same, steps);
  checkCosts(same);
  checkKeys(same);
  checkPointer(same);
  checkPage(same);

  const outcome = document.createElement("pre");
  outcome.id = "selftest";
  outcome.textContent = JSON.stringify({checks, failures, steps});
  document.body.append(outcome);
}

// What the grids of an array show, in the order of its places.
function shown(array) {
  const cells = [...document.querySelectorAll(`.cell[data-array="${array}"]`)];
  const number = cell => [cell.dataset.place.split(",").map(Number), Number(cell.textContent.replace("−", "-"))];
  const before = ([a], [b]) => a.map((index, k) => index - b[k]).find(difference => difference !== 0) ?? 0;
  return cells.map(number).sort(before);
}

// One position of the switches, in both views and both ways: every step, and what is shown after the last one.
function checkSetting(expected, same, steps) {
  const setting = Object.fromEntries(CONVOLUTION.map(name => [name, expected[name]]));
  for (const view of SWITCHES.view.values)
    for (const way of SWITCHES.way.values) {
      const what = JSON.stringify({...setting, view, way});
      const conv = convolution({...setting, view, way}), {out, dxp, dw} = after(conv, conv.steps.length);
      same(`${what} pads`, conv.g.pads, expected.pads);
      same(`${what} multiply-adds`, conv.madds, expected.madds);
      same(`${what} computed`, [out, crop(conv, dxp), dw.flat(9)], [expected.out, expected.dx, expected.dw]);
      for (const [n, step] of conv.steps.entries()) {
        const {y, x, i, j, c, m} = step[(7 * n) % step.length]; // another place under the cursor in each step
        steps.push({setting, view, way, lines: lines(conv, {y, x, i, j})});
        if (n % 4 && n < conv.steps.length - 1) continue;
        set({tab: "convolution", ...setting, view, way, y, x, i, j, c, m});
        const {p, q, k} = step[(7 * n) % step.length], now = after(conv, n + 1);
        const results = way === "forward" ? [now.out[y][x][m]] : [now.dxp[p][q][c], now.dw[i][j][c][k]];
        const ends = [...document.querySelectorAll(".sum b")].map(end => Number(end.textContent.replace("−", "-")));
        same(`${what} sums of step ${n}`, ends, results);
      }
      const inside = ([[p, q]]) => [p, q].every(k => k >= conv.g.pads[0] && k < conv.g.pads[0] + conv.g.side);
      const numbers = cells => cells.map(([, number]) => number);
      if (way === "forward") same(`${what} shows out`, numbers(shown("out")), expected.out.flat(9));
      if (way === "backward") same(`${what} shows dx`, numbers(shown("dxp").filter(inside)), expected.dx.flat(9));
      if (way === "backward") same(`${what} shows dw`, numbers(shown("dw")), expected.dw);
      same(`${what} counts`, document.querySelector("#made .done").style.width, "100%");
    }
}

function checkCosts(same) {
  const pair = layer => [layer.parameters, layer.madds];
  for (const [width, resolution, parameters, madds] of DATA.networks) {
    set({tab: "costs", width, resolution});
    const text = element("network").textContent;
    same(`network ${width} ${resolution}`, pair(networkCost(width, resolution)), [parameters, madds]);
    const isShown = [parameters, madds].every(number => text.includes(`(${grouped(number)})`));
    same(`network ${width} ${resolution}, shown`, isShown, true);
  }
  for (const {sizes, standard, separable: parts, block, gain} of DATA.layers) {
    const [pixels, C, M, K, t] = sizes;
    set({tab: "costs", pixels, C, M, K, t});
    same(`standard ${sizes}`, pair(layerCost("standard", pixels, C, M, K)), standard);
    same(`separable ${sizes}`, separable(pixels, C, M, K).map(pair), parts);
    same(`block ${sizes}`, blockCost({side: pixels, C, M, t, stride: 1, K}).map(pair), block);
    same(`gain ${sizes}, shown`, element("gain").querySelector("b").textContent, `${gain.toFixed(1)} times fewer`);
  }
  for (const [number, block] of DATA.blocks.entries()) {
    set({tab: "block", way: "forward", block: number});
    const classic = classicCost(block.side);
    same(`block ${block.name}`, blockCost(block).map(pair), block.costs);
    const last = stages(block).length - 1;
    set({stage: last});
    same(`block ${block.name}, marked row`, document.querySelector("#block-table .marked")?.cells[0].textContent,
      block.shortcut ? undefined : "project");
    set({stage: 0});
    same(`block ${block.name}, shortcut`, hasShortcut(block), block.shortcut);
    same(`classic beside ${block.name}`, [total(classic, "parameters"), total(classic, "madds")], block.classic);
  }
}

// All that a presenter does, by keys alone.
function checkKeys(same) {
  const press = (key, more = {}) => document.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true, ...more}));
  const pressed = (keys, names) => {
    keys.forEach(key => press(key));
    return names.map(name => S[name]);
  };
  const start = {tab: "paddings", kind: "standard", view: "window", way: "forward", stride: 1, padding: "PyTorch",
    dilation: 1, side: 6, y: 0, x: 0, i: 0, j: 0, c: 0, m: 0, block: 2, stage: 0};
  set(start);
  same("key 1", pressed(["1"], ["tab"]), ["convolution"]);
  same("keys → →", pressed(["ArrowRight", "ArrowRight"], ["y", "x"]), [0, 2]);
  same("key ←", pressed(["ArrowLeft"], ["y", "x"]), [0, 1]);
  same("key End", pressed(["End"], ["y", "x"]), [5, 5]);
  same("→ at the end stays", pressed(["ArrowRight"], ["y", "x"]), [5, 5]);
  same("key Home", pressed(["Home"], ["y", "x"]), [0, 0]);
  press("ArrowDown", {shiftKey: true});
  same("Shift ↓ moves the cursor", [S.i, S.j], [1, 0]);
  same("keys C M", pressed(["c", "m"], ["c", "m"]), [1, 1]);
  same("keys V →", pressed(["v", "ArrowRight"], ["view", "i", "j"]), ["tap", 1, 1]);
  same("keys S P", pressed(["s", "p"], ["stride", "padding"]), [2, "TensorFlow"]);
  same("keys D I", pressed(["d", "i"], ["dilation", "side"]), [2, 5]);
  same("key B", pressed(["b"], ["way"]), ["backward"]);
  same("key K", pressed(["k"], ["kind"]), ["depthwise"]);
  same("key K, S stays", pressed(["k", "s"], ["kind", "stride"]), ["pointwise", 2]);
  same("key 2", pressed(["2", "End"], ["tab"]), ["paddings"]);
  same("keys 3 ↓ →", pressed(["3", "ArrowDown", "ArrowRight"], ["tab", "block", "stage"]), ["block", 3, 1]);
  same("key 4", pressed(["4"], ["tab"]), ["costs"]);
  same("key ? opens and closes", [0, 1].map(() => (press("?"), element("keys").hidden)), [false, true]);
  press("1");
  press(" ");
  same("Space runs", timer !== null, true);
  press(" ");
  same("Space stops", timer, null);
  set(start);
}

// The same by the pointer.
function checkPointer(same) {
  const event = (type, target) => document.querySelector(target).dispatchEvent(new Event(type, {bubbles: true}));
  const cell = (array, place) => `.cell[data-array="${array}"][data-place="${place}"]`;
  set({tab: "convolution"});
  event("click", '[data-switch="kind"] button:nth-of-type(2)');
  same("a click on a switch", S.kind, "depthwise");
  event("pointerover", cell("xp", "2,1,1"));
  same("the pointer on a pixel of the window", [S.y, S.x, S.i, S.j, S.c, S.m], [0, 0, 2, 1, 1, 1]);
  event("pointerover", cell("xp", "5,5,0"));
  same("the pointer on a pixel outside", [S.i, S.j, S.c], [2, 1, 1]);
  event("pointerover", cell("out", "3,2,0"));
  same("the pointer on out stays in the window", [S.y, S.x, S.c], [0, 0, 0]);
  event("click", cell("out", "3,2,0"));
  same("a click on out goes there", [S.y, S.x], [3, 2]);
  event("pointerover", ".product:nth-of-type(4)");
  same("the pointer on a product", [S.i, S.j], [0, 2]);
  event("click", '[data-tab="costs"]');
  document.querySelector('[data-slider="K"]').value = 5;
  event("input", '[data-slider="K"]');
  same("a slider", [S.tab, S.K], ["costs", 5]);
  set({tab: "convolution", kind: "standard"});
}

// Nothing is loaded; nothing is wider than the window; all that is pressed has a name; nothing went wrong.
function checkPage(same) {
  same("loaded", performance.getEntriesByType("resource").map(entry => entry.name), []);
  for (const tab of Object.keys(VIEWS))
    for (const way of SWITCHES.way.values) {
      set({tab, way, side: 6, padding: "PyTorch", kind: "standard"});
      same(`${tab}, ${way}: wider than the window`, document.documentElement.scrollWidth > innerWidth, false);
    }
  const names = [...document.querySelectorAll("button, input")].map(one =>
    one.getAttribute("aria-label") || one.textContent || one.closest("label")?.textContent);
  same("without a name", names.filter(name => !name?.trim()), []);
  same("error line", element("error").textContent, "");
}
