"use strict";

// What the page computes. Nothing here draws.
//
// An array is a list of lists, as NumPy's tolist() writes it: x[y][x][c], out[y][x][m]. Weights are w[i][j][c][k] for
// all three kinds: a depthwise convolution has one filter a channel, so k is 0 and m is c; a pointwise one has one tap.

const range = n => Array.from({length: n}, (_, k) => k);
const zeros = (n, ...rest) => range(n).map(() => (rest.length ? zeros(...rest) : 0));
const sum = numbers => numbers.reduce((a, b) => a + b, 0);

// TensorFlow's padding="same": first how many windows there shall be, then the zeros that they lack; the odd one after.
function samePadding(side, reach, stride) {
  const out = Math.ceil(side / stride);
  const total = Math.max((out - 1) * stride + reach - side, 0);
  return [Math.floor(total / 2), total - Math.floor(total / 2)];
}

// All sizes along one axis. Images and kernels are square here.
function geometry({kind, side, stride, padding, dilation}) {
  if (kind === "pointwise") return {side, kernel: 1, stride: 1, dilation: 1, reach: 1, pads: [0, 0], out: side};
  const kernel = DATA.kernel;
  const reach = dilation * (kernel - 1) + 1;
  const pads = {none: [0, 0], PyTorch: [1, 1], TensorFlow: samePadding(side, reach, stride)}[padding];
  const out = Math.floor((pads[0] + side + pads[1] - reach) / stride) + 1;
  return {side, kernel, stride, dilation, reach, pads, out};
}

// The weights of a kind as w[i][j][c][k].
function weights(kind) {
  const w = DATA.w[kind];
  if (kind === "pointwise") return [[w]];
  if (kind === "depthwise") return w.map(row => row.map(tap => tap.map(number => [number])));
  return w;
}

// A convolution is a list of products: one pixel of xp times one weight, for one number of out. In the window of
// out[y, x], tap (i, j) lies on xp[stride * y + dilation * i, stride * x + dilation * j].
function products(kind, g, w) {
  const list = [];
  for (const y of range(g.out))
    for (const x of range(g.out))
      for (const i of range(g.kernel))
        for (const j of range(g.kernel))
          for (const c of range(w[i][j].length))
            for (const k of range(w[i][j][c].length))
              list.push({
                y, x, i, j, c, k,
                m: kind === "depthwise" ? c : k,
                p: g.stride * y + g.dilation * i,
                q: g.stride * x + g.dilation * j,
              });
  return list;
}

// The same products in two orders. A window is all taps at one pixel of out; a tap is one tap at all pixels of out.
function steps(list, view) {
  const found = new Map();
  for (const one of list) {
    const key = view === "tap" ? `${one.i},${one.j}` : `${one.y},${one.x}`;
    if (!found.has(key)) found.set(key, []);
    found.get(key).push(one);
  }
  return [...found.values()];
}

// One position of the switches: its sizes, its arrays, its steps.
function convolution(setting) {
  const g = geometry(setting);
  const w = weights(setting.kind);
  const list = products(setting.kind, g, w);
  const C = DATA.x[0][0].length, M = setting.kind === "depthwise" ? C : w[0][0][0].length;
  const P = g.pads[0] + g.side + g.pads[1];
  const xp = zeros(P, P, C);
  for (const y of range(g.side)) for (const x of range(g.side)) xp[g.pads[0] + y][g.pads[0] + x] = DATA.x[y][x];
  const dout = range(g.out).map(y => range(g.out).map(x => DATA.dout[y][x].slice(0, M)));
  return {setting, g, w, xp, dout, C, M, P, madds: list.length, steps: steps(list, setting.view)};
}

// out, dxp and dw after the first `count` steps. A product sends dout to both of its factors, times the other one.
// `terms` counts how often something was added to a pixel; `written` has every place that was written.
function after(conv, count) {
  const {xp, w, dout, g} = conv;
  const out = zeros(g.out, g.out, conv.M), dxp = zeros(conv.P, conv.P, conv.C);
  const dw = w.map(row => row.map(tap => tap.map(filters => filters.map(() => 0))));
  const written = {out: new Set(), dxp: new Set(), dw: new Set()};
  for (const {y, x, i, j, c, k, m, p, q} of conv.steps.slice(0, count).flat()) {
    out[y][x][m] += xp[p][q][c] * w[i][j][c][k];
    dxp[p][q][c] += w[i][j][c][k] * dout[y][x][m];
    dw[i][j][c][k] += xp[p][q][c] * dout[y][x][m];
    written.out.add(`${y},${x},${m}`);
    written.dxp.add(`${p},${q},${c}`);
    written.dw.add(`${i},${j},${c},${k}`);
  }
  return {out, dxp, dw, written};
}

// The backward of padding: the border is cut off.
function crop(conv, dxp) {
  const [before] = conv.g.pads, {side} = conv.g;
  return dxp.slice(before, before + side).map(row => row.slice(before, before + side));
}

// -- costs, as npmnv2.cost counts them: parameters with the two numbers a channel of the batch norm that follows

function layerCost(kind, side, C, M, K = 1) {
  const weights = {standard: K * K * C * M, depthwise: K * K * C, pointwise: C * M}[kind];
  return {kind, K, C, M, side, weights, parameters: weights + 2 * M, madds: side * side * weights};
}

// How many times fewer multiply-adds the pair takes: the number of channels in cancels out.
const layerGain = (M, K) => 1 / (1 / M + 1 / (K * K));
const separable = (side, C, M, K) => [layerCost("depthwise", side, C, C, K), layerCost("pointwise", side, C, M)];
const total = (layers, what) => sum(layers.map(layer => layer[what]));

// The layers of an inverted residual; without an expansion there is no first one.
function blockCost({side, C, M, t, stride, K = 3}) {
  const after = Math.ceil(side / stride);
  const layers = t > 1 ? [layerCost("pointwise", side, C, t * C)] : [];
  return [...layers, layerCost("depthwise", after, t * C, t * C, K), layerCost("pointwise", after, t * C, M)];
}

function classicCost(side) {
  const [wide, narrow] = DATA.classic;
  return [
    layerCost("pointwise", side, wide, narrow),
    layerCost("standard", side, narrow, narrow, 3),
    layerCost("pointwise", side, narrow, wide),
  ];
}

// Channels are multiples of 8, and rounding takes away no more than a tenth.
function makeDivisible(value) {
  const rounded = Math.max(8, Math.floor((value + 4) / 8) * 8);
  return rounded < 0.9 * value ? rounded + 8 : rounded;
}

// MobileNetV2: stem, the blocks of the seven rows, head, classifier.
function networkCost(width, resolution, classes = 1000) {
  let side = Math.ceil(resolution / 2), C = makeDivisible(width * DATA.stem);
  const layers = [layerCost("standard", side, 3, C, 3)];
  for (const [t, c, n, s] of DATA.rows)
    for (const k of range(n)) {
      const block = {side, C, M: makeDivisible(width * c), t, stride: k === 0 ? s : 1};
      layers.push(...blockCost(block));
      side = Math.ceil(side / block.stride);
      C = block.M;
    }
  const head = makeDivisible(Math.max(width, 1) * DATA.head);
  layers.push(layerCost("pointwise", side, C, head));
  return {
    layers,
    parameters: total(layers, "parameters") + head * classes + classes,
    madds: total(layers, "madds") + head * classes,
  };
}
