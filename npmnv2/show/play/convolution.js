// The view "Convolution": the arrays of one step, the step as a line of NumPy, and its sums under the cursor.

// Where a product stands in each array. A gradient has the places of its array.
const PLACE = {
  xp: one => `${one.p},${one.q},${one.c}`,
  w: one => `${one.i},${one.j},${one.c},${one.k}`,
  out: one => `${one.y},${one.x},${one.m}`,
};
Object.assign(PLACE, {dxp: PLACE.xp, dw: PLACE.w, dout: PLACE.out});

const MIXES = {
  standard: `<b>Standard mixes space and channels.</b> A number of ${code("out")} sees a window of every channel. A
    tap is a matrix: ${code("@")}.`,
  depthwise: `<b>Depthwise mixes space and keeps channels apart.</b> A number of ${code("out")} sees a window of its own
    channel. A tap is one number a channel: ${code("*")}.`,
  pointwise: `<b>Pointwise mixes channels and keeps pixels apart.</b> A number of ${code("out")} sees every channel of
    one pixel. The only tap is a matrix: ${code("@")}. Stride, padding and dilation are for kernels of more taps.`,
};

const INTRO = {
  forward: `${code("w")}, the <b>kernel</b>, slides over an image and makes ${code("out")}. A place in it is a
    <b>tap</b>. <kbd>→</kbd> goes on by a window, or by a tap: the same products in another order.`,
  backward: `${code("dout")}, how the loss changes with ${code("out")}, goes back to both factors of every product: to
    the pixel times the weight, to the weight times the pixel.`,
};

// The step that S stands at: a tap or a window.
const stepOf = ({g}, {view, y, x, i, j}) => (view === "tap" ? i * g.kernel + j : y * g.out + x);

// Python's slice of `count` entries from `start` on.
const slice = (start, count, step) => `${start}:${start + (count - 1) * step + 1}${step > 1 ? `:${step}` : ""}`;

// Is the array complete after one step, or do other steps add to it?
function assigns(array, {view, kind}) {
  if (array === "out") return view === "window" || kind === "pointwise";
  if (array === "dw") return view === "tap";
  return kind === "pointwise"; // no two windows, no two taps see the same pixel
}

// A step as NumPy computes it. One line forward, two backward.
function lines(conv, {y, x, i, j}) {
  const {g, setting} = conv, {kind, view, way} = setting;
  const sign = array => (assigns(array, setting) ? "=" : "+=");
  if (kind === "pointwise") {
    if (view === "tap")
      return way === "forward" ? ["out = x @ w"] : ['dw = np.einsum("yxc,yxm->cm", x, dout)', "dx = dout @ w.T"];
    return way === "forward"
      ? [`out[${y}, ${x}] = x[${y}, ${x}] @ w`]
      : [`dw += np.outer(x[${y}, ${x}], dout[${y}, ${x}])`, `dx[${y}, ${x}] = w @ dout[${y}, ${x}]`];
  }
  const isStandard = kind === "standard";
  if (view === "tap") {
    const [rows, columns] = [i, j].map(tap => slice(g.dilation * tap, g.out, g.stride));
    const seen = `[${rows}, ${columns}]`, w = `w[${i}, ${j}]`;
    if (way === "forward") return [`out ${sign("out")} xp${seen} ${isStandard ? "@" : "*"} ${w}`];
    return [
      `d${w} ${sign("dw")} np.einsum("${isStandard ? "yxc,yxm->cm" : "yxc,yxc->c"}", xp${seen}, dout)`,
      `dxp${seen} ${sign("dxp")} ${isStandard ? `dout @ ${w}.T` : `dout * ${w}`}`,
    ];
  }
  const [rows, columns] = [y, x].map(place => slice(g.stride * place, g.kernel, g.dilation));
  const seen = `[${rows}, ${columns}]`, at = `[${y}, ${x}]`;
  if (way === "forward")
    return [`out${at} ${sign("out")} np.einsum("${isStandard ? "ijc,ijcm->m" : "ijc,ijc->c"}", xp${seen}, w)`];
  return [
    `dw ${sign("dw")} ${isStandard ? `np.einsum("ijc,m->ijcm", xp${seen}, dout${at})` : `xp${seen} * dout${at}`}`,
    `dxp${seen} ${sign("dxp")} ${isStandard ? `w @ dout${at}` : `w * dout${at}`}`,
  ];
}

// What the step is, in words.
function caption(conv) {
  const {g, setting: {kind, view, way}} = conv;
  const taps = g.kernel ** 2, windows = g.out ** 2, isPointwise = kind === "pointwise";
  const numbers = `${plural(taps, "tap")} × ${plural(kind === "depthwise" ? 1 : conv.C, "channel")}`;
  if (way === "forward" && view === "window")
    return `<b>One window, every tap.</b> ${isPointwise ? "The window is one pixel." : ""} Its pixels, each times its
      weight, add up to one pixel of ${code("out")}: ${numbers} for each number. Then the window is done:
      ${code("=")}.`;
  if (way === "forward")
    return `<b>One tap, every window.</b> While the kernel slides, this one position of it comes past ${windows} pixels,
      one in each window: a view as large as ${code("out")}. ${isPointwise ? "It is the only tap." :
      `Each of the ${taps} taps adds one term: ${code("+=")}.`}`;
  if (view === "window")
    return `<b>One window, every tap.</b> ${code("dout")} of this pixel goes to all pixels of its window, and to all
      weights. ${isPointwise ?
      `A pixel lies in one window: ${code("=")}. Each` : `Windows overlap: ${code("+=")}. And each`}
      weight serves every window: ${code("+=")}.`;
  return `<b>One tap, every window.</b> No other tap has this weight, so ${code("dw")} of it is complete: ${code("=")}.
    ${isPointwise ? `No other tap sees these pixels: ${code("=")}.` : `Other taps see the same pixels, so
    ${code("dxp")} is added to: ${code("+=")}.`}`;
}

// One number of an array in this step: its terms, with their values. `parts` are the products that it is the sum of,
// `marked` the one under the cursor, `before` what the number was before the step.
function spelled(conv, array, parts, before, marked) {
  const {g, setting} = conv, isSet = assigns(array, setting);
  const valueOf = {
    xp: ({p, q, c}) => conv.xp[p][q][c],
    w: ({i, j, c, k}) => conv.w[i][j][c][k],
    dout: ({y, x, m}) => conv.dout[y][x][m],
  };
  const [left, right] = {out: ["xp", "w"], dxp: ["dout", "w"], dw: ["xp", "dout"]}[array];
  const terms = parts.map(part => {
    const isPadding = left === "xp" && ![part.p, part.q].every(place => isInside(g, place));
    const look = `product ${part === marked ? "hot" : ""} ${isPadding ? "pad" : ""}`;
    return `<span class="${look}" data-array="${array}" data-place="${PLACE.out(part)},${PLACE.w(part)}">${
      show(valueOf[left](part))}·${factor(valueOf[right](part))}</span>`;
  });
  const added = sum(parts.map(part => valueOf[left](part) * valueOf[right](part)));
  const end = isSet ? `= <b>${show(added)}</b>`
    : `= ${show(added)}, so ${show(before)} + ${factor(added)} = <b>${show(before + added)}</b>`;
  const factors = {xp: "pixel", w: "weight", dout: "dout"};
  return `<p class="sum"><code>${nameOf(array, parts[0], setting.kind)}</code> ${isSet ? "=" : "+="}
    <span class="soft">${factors[left]}·${factors[right]}:</span> ${terms.join(" + ")} ${end}</p>`;
}

// A number as NumPy names it: a depthwise w has no axis for filters, a pointwise one none for taps.
function nameOf(array, part, kind) {
  const place = PLACE[array](part).split(",");
  const weight = {standard: place, depthwise: place.slice(0, 3), pointwise: place.slice(2)}[kind];
  const kept = array === "dw" ? weight : place;
  return `${kind === "pointwise" ? array.replace("xp", "x") : array}[${kept.join(", ")}]`;
}

const isInside = ({pads, side}, place) => place >= pads[0] && place < pads[0] + side;

function strideNote({g}) {
  const stride = `Stride 2: windows begin at every second pixel, so ${code("out")} is ${g.out}×${g.out}.`;
  const dilation = `Dilation 2: the taps lie two pixels apart, so a window reaches over ${g.reach}.`;
  const padding = "Padding: zeros around the image let windows reach over its border.";
  return `${g.stride === 2 ? stride : ""} ${g.dilation === 2 ? dilation : ""} ${sum(g.pads) ? padding : ""}`;
}

// Multiply-adds so far, and what a pixel of out takes in each kind.
function counted(conv, at) {
  const times = S.way === "forward" ? 1 : 2; // backward, each product sends a gradient to both of its factors
  const made = conv.steps.slice(0, at + 1).flat().length * times, all = conv.madds * times;
  const words = `${grouped(made)} of ${grouped(all)}`;
  const soFar = `<h3>Multiply-adds so far</h3>
    <div id="made">${bars([{name: "", value: all, done: made, words, look: "marked"}])}</div>`;
  if (times === 2) return `${soFar}<p>Backward takes twice as many as forward: two factors a product.</p>`;
  const kinds = Object.keys(MIXES).map(kind => ({name: kind, look: kind === S.kind ? "marked" : "",
    value: layerCost(kind, 1, conv.C, DATA.dout[0][0].length, DATA.kernel).madds}));
  const [standard, depthwise, pointwise] = kinds.map(kind => kind.value), pair = depthwise + pointwise;
  return `${soFar}<h3>For one pixel of out</h3>${bars(kinds)}
    <p>Depthwise and pointwise together, ${depthwise} + ${pointwise} = ${pair}, mix both: ${standard / pair} times fewer
    than ${standard}. With 192 channels out, ${layerGain(192, DATA.kernel).toFixed(1)} times: view <kbd>4</kbd>.</p>`;
}

// In how many windows the pixels of the image lie, along both axes together.
function windowsOf({g}, p, q) {
  const along = place => range(g.out).filter(y => range(g.kernel).some(i => g.stride * y + g.dilation * i === place));
  return along(p).length * along(q).length;
}

function gradientNote(conv) {
  const {g, setting} = conv, pixels = range(g.side).flatMap(y => range(g.side).map(x => [y, x]));
  const counts = pixels.map(([y, x]) => windowsOf(conv, y + g.pads[0], x + g.pads[0]));
  const values = [...new Set(counts)].sort((a, b) => a - b), none = counts.filter(count => count === 0).length;
  return `Stride ${g.stride}: a pixel of the image lies in ${values.join(", ").replace(/, (\d+)$/, " or $1")}
    ${values.length === 1 && values[0] === 1 ? "window" : "windows"}, and gets a term from each${
    setting.kind === "depthwise" ? "" : ", for each m"}. ${none ? `${plural(none, "pixel")} of ${g.side ** 2}
    in none: gradient 0.` : "None is left out."}`;
}

// A function that draws one channel of an array: `place(row, column)` is where a cell stands in the array.
// Coloured: what takes part in the step, strongly what the sums spell out. Framed: the product under the cursor.
function sheets(conv, step, marked, done, spelledOut) {
  const {g} = conv, isLast = step === conv.steps.at(-1);
  return (name, values, size, place, label) => {
    const places = list => new Set(list.map(PLACE[name]));
    const inStep = places(step), inSums = places(spelledOut), cursor = PLACE[name](marked);
    const written = done.written[name]; // an array that is only read has none
    return sheet(name, label, size, size, (row, column) => {
      const at = place(row, column), isEmpty = written && !written.has(at);
      const value = at.split(",").reduce((array, index) => array[index], values);
      const looks = {
        pad: name.endsWith("xp") && !(isInside(g, row) && isInside(g, column)),
        on: inStep.has(at),
        sum: inSums.has(at),
        hot: at === cursor,
        unseen: isEmpty && isLast,
      };
      const look = Object.keys(looks).filter(one => looks[one]).join(" ");
      return {value: isEmpty && !isLast ? "" : value, look, place: at};
    });
  };
}

// All arrays of a step: the row above, and in the backward a row below.
function arrays(conv, draw, done) {
  const {g, C, M, P, setting: {kind, way, view}} = conv;
  const isDepthwise = kind === "depthwise", isPointwise = kind === "pointwise", filters = isDepthwise ? 1 : M;
  const images = (name, values) =>
    range(C).map(c => draw(name, values, P, (p, q) => `${p},${q},${c}`, `channel c = ${c}`));
  const kernels = (name, values) => range(C).flatMap(c => range(filters).map(k => draw(name, values, g.kernel,
    (i, j) => `${i},${j},${c},${k}`, isDepthwise ? `c = ${c}` : `c ${c}, m ${k}`)));
  const outputs = (name, values) => range(M).map(m => draw(name, values, g.out,
    (y, x) => `${y},${x},${m}`, `channel ${isDepthwise ? "c" : "m"} = ${m}`));
  const sign = words => `<span class="sign" aria-hidden="true">${words}</span>`;
  const shape = (...sizes) => sizes.join("×");

  const x = isPointwise ? "x" : "xp", padding = sum(g.pads) ? "grey: zeros around it" : "no padding";
  const weightShape = {standard: shape(3, 3, C, M), depthwise: shape(3, 3, C), pointwise: shape(C, M)}[kind];
  const operator = way === "backward" ? "" : view === "window" ? "×" : isDepthwise ? "*" : "@";
  const read = block("read", x, `${shape(P, P, C)}, the image, ${padding}`, images("xp", conv.xp), C) + sign(operator) +
    block("weight", "w", `${weightShape}, the weights`, kernels("w", conv.w), filters);
  const outShape = shape(g.out, g.out, M);
  if (way === "forward") return [read + sign("→") + block("written", "out", outShape, outputs("out", done.out), M), ""];
  return [
    read + sign("←") + block("arrives", "dout", `${outShape}, arrives`, outputs("dout", conv.dout), M),
    block("written", `d${x}`, "gradient of the image", images("dxp", done.dxp), C) + sign("") +
      block("written", "dw", "gradient of the weights", kernels("dw", done.dw), filters),
  ];
}

function drawConvolution() {
  const conv = convolution(S), at = stepOf(conv, S), step = conv.steps[at];
  const one = step.find(part =>
    ["y", "x", "i", "j", "c"].every(name => part[name] === S[name]) && part.m === S.m);
  const before = after(conv, at), done = after(conv, at + 1);
  const parts = array => step.filter(part => PLACE[array](part) === PLACE[array](one));
  const targets = S.way === "forward" ? ["out"] : ["dxp", "dw"];
  const number = array => PLACE[array](one).split(",").reduce((values, index) => values[index], before[array]);
  const [above, below] = arrays(conv, sheets(conv, step, one, done, targets.flatMap(parts)), done);
  const unit = S.view === "tap" ? `tap ${at + 1} of ${conv.g.kernel ** 2}` : `window ${at + 1} of ${conv.g.out ** 2}`;
  const {g, C, M} = conv, across = [C * conv.P, 3 * (S.kind === "depthwise" ? 1 : M), M * g.out];
  const sizes = {cells: sum(across), "most-cells": Math.max(...across), rows: S.way === "forward" ? 9 : 2 * conv.P};
  for (const [name, size] of Object.entries(sizes)) element("convolution").style.setProperty(`--${name}`, size);
  element("intro").innerHTML = INTRO[S.way];
  element("above").innerHTML = above;
  element("below").innerHTML = below;
  element("unit").textContent = unit;
  element("caption").innerHTML = caption(conv);
  element("lines").innerHTML = lines(conv, S).map(code).join("");
  element("sums").innerHTML = targets.map(array => spelled(conv, array, parts(array), number(array), one)).join("");
  element("note").innerHTML = S.way === "forward" ? `${MIXES[S.kind]} ${strideNote(conv)}` : gradientNote(conv);
  element("count").innerHTML = counted(conv, at);
}
