// The view "The block": an inverted residual of MobileNetV2 beside the classic one, channels as heights.

const hasShortcut = block => block.stride === 1 && block.C === block.M;

// Without an expansion there is no first convolution; without a shortcut nothing is added at the end.
function stages({t, ...block}) {
  return [...(t > 1 ? ["expand"] : []), "depthwise", "project", ...(hasShortcut(block) ? ["add"] : [])];
}

const FORWARD = {
  expand: ({C, t}) => `<b>Expand.</b> A pointwise convolution gives every pixel ${t * C} channels in the place of ${C}.
    Batch norm and ReLU6 follow: they act where there are many channels.`,
  depthwise: ({C, t, stride}) => `<b>Depthwise, 3×3.</b> Each of the ${t * C} channels is filtered by itself. Batch norm
    and ReLU6 follow. ${stride === 2 ? "Stride 2: half the pixels along each side are left." : ""}`,
  project: ({M}) => `<b>Project.</b> A pointwise convolution goes back to ${M} channels. Batch norm follows, and
    <em>no</em> ReLU6: where channels are few, setting values to 0 would lose them.`,
  add: () => `<b>Shortcut.</b> The input is added to the output: ${code("out = x + branch")}. It joins the narrow
    ends.`,
};

const GATE = `${code("dout")} passes ReLU6 where the value was between 0 and 6, then batch norm; then`;
const PRODUCTS = `${code("dx = dout @ w.T")} and ${code("dw = x.T @ dout")}`;

const BACKWARD = {
  expand: () => `<b>Expand, backward.</b> ${GATE} ${PRODUCTS}.`,
  depthwise: ({stride}) => `<b>Depthwise, backward.</b> ${GATE} each tap adds: ${code("dxp[seen] += dout * w[i, j]")}.
    ${stride === 2 ? "Stride 2: a pixel lies in 1, 2 or 4 windows." : ""}`,
  project: () => `<b>Project, backward.</b> No ReLU6 to pass: batch norm, then ${PRODUCTS}.`,
  add: () => `<b>Shortcut, backward.</b> A sum sends its gradient unchanged to both terms:
    ${code("dx = dout + dbranch")}.`,
};

// Arrays as bars: height is channels, thickness is pixels along a side. `marked`: the arrow of the stage; -1: none.
function chain({channels, sides, kernels, colour, shortcut, marked, name}, most) {
  const id = `head-of-${name.split(" ")[0]}`, isBackward = S.way === "backward", width = 600, middle = 200, top = 30;
  const gap = width / channels.length, places = channels.map((_, k) => gap * (k + 0.5));
  const half = channels.map(count => Math.max(2, 130 * count / most));
  const thick = sides.map(side => 26 * side / sides[0]);
  const arrow = (points, look) => `<polyline class="${look}" marker-end="url(#${id})" points="${
    (isBackward ? [...points].reverse() : points).map(point => point.join(",")).join(" ")}"/>`;
  const drawn = channels.map((count, k) => `<rect x="${places[k] - thick[k]}" y="${middle - half[k]}"
      width="${2 * thick[k]}" height="${2 * half[k]}" fill="${colour}" class="bar"/>
    <text x="${places[k]}" y="${middle + half[k] + 24}"><tspan class="strong">${count}</tspan></text>
    <text x="${places[k]}" y="${middle + half[k] + 46}">${sides[k]}×${sides[k]}</text>`);
  const between = kernels.map((kernel, k) => {
    const from = places[k] + thick[k] + 8, to = places[k + 1] - thick[k + 1] - 8, isMarked = k === marked;
    return `${arrow([[from, middle], [to, middle]], isMarked ? "arrow marked" : "arrow")}
      <text class="${isMarked ? "strong" : ""}" x="${(from + to) / 2}" y="${middle - 14}">${kernel}</text>`;
  });
  const end = places.length - 1;
  const over = arrow([[places[0], middle - half[0] - 4], [places[0], top], [places[end], top],
    [places[end], middle - half[end] - 10]], marked === kernels.length ? "arrow marked" : "arrow");
  const says = `${name}: channels ${channels.join(", ")}; ${shortcut ? "with" : "without"} a shortcut`;
  return `<svg viewBox="0 0 ${width} 390" role="img" aria-label="${says}">
    <defs><marker id="${id}" viewBox="0 0 10 10" refX="6" refY="5" markerUnits="userSpaceOnUse"
    markerWidth="18" markerHeight="18" orient="auto">
    <path d="M0 0L10 5L0 10z" fill="context-stroke"/></marker></defs>
    ${shortcut ? over : ""}${drawn.join("")}${between.join("")}</svg>`;
}

function drawBlock() {
  const block = DATA.blocks[S.block], list = stages(block), {C, M, t, stride, side} = block;
  const number = S.way === "forward" ? S.stage : list.length - 1 - S.stage;
  const last = Math.ceil(side / stride), wide = t * C, isExpanded = t > 1;
  const inverted = {
    name: "inverted residual", colour: "var(--blue)", shortcut: hasShortcut(block), marked: number,
    channels: isExpanded ? [C, wide, wide, M] : [C, wide, M],
    sides: isExpanded ? [side, side, last, last] : [side, last, last],
    kernels: isExpanded ? ["1×1", "3×3", "1×1"] : ["3×3", "1×1"],
  };
  const classic = {
    name: "classic residual", colour: "var(--orange)", shortcut: true, marked: -1,
    channels: DATA.classic,
    sides: [side, side, side, side],
    kernels: ["1×1", "3×3", "1×1"],
  };
  const most = Math.max(wide, M, ...DATA.classic);
  const why = stride === 2 ? "No shortcut: at stride 2 input and output differ in size."
    : C === M ? "" : `No shortcut: ${C} channels in, ${M} out.`;
  const costs = blockCost(block), beside = classicCost(side);
  const ends = hasShortcut(block) ? "the shortcut joins the narrow ends" : "narrow ends, wide middle";
  element("block-name").textContent = `${block.name}: t = ${t}, ${C} to ${M} channels, stride ${stride}`;
  element("inverted").innerHTML = `<h3>Inverted residual: ${ends}</h3>${chain(inverted, most)}`;
  element("classic").innerHTML = `<h3>Classic residual (ResNet-50): the shortcut joins the wide ends</h3>
    ${chain(classic, most)}`;
  element("stage").innerHTML = `${(S.way === "forward" ? FORWARD : BACKWARD)[list[number]](block)} ${why}`;
  const row = ({kind, K, C, M, side, parameters, madds}, k) => [list[k], `${K}×${K} ${kind}`, `${C} → ${M}`,
    `${side}×${side}`, grouped(parameters), grouped(madds)];
  const marked = number < costs.length ? number : -1; // the shortcut has no row
  element("block-table").innerHTML = table(["", "convolution", "channels", "pixels", "parameters", "multiply-adds"],
    [...costs.map(row), ["together", "", "", "", grouped(total(costs, "parameters")), grouped(total(costs, "madds"))],
      ["classic", `3×3 standard in the middle`, DATA.classic.join(" → "), `${side}×${side}`,
        grouped(total(beside, "parameters")), grouped(total(beside, "madds"))]], marked);
}
