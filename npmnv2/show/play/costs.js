// The view "Costs": what a layer, a block and the whole network cost, by sliders.

const SLIDERS = {
  pixels: {label: "pixels along a side", least: 7, most: 112, step: 7},
  C: {label: "C, channels in", least: 8, most: 512, step: 8},
  M: {label: "M, channels out", least: 8, most: 512, step: 8},
  K: {label: "K, taps along a side", least: 1, most: 7, step: 2},
  t: {label: "t, expansion", least: 1, most: 10, step: 1},
  width: {label: "width multiplier", least: 0.25, most: 1.4, step: 0.05},
  resolution: {label: "resolution", least: 96, most: 288, step: 32},
};

function sliders(names) {
  return names.map(name => {
    const {label, least, most, step} = SLIDERS[name];
    return `<label>${label} <output id="value-${name}"></output><input type="range" data-slider="${name}"
      min="${least}" max="${most}" step="${step}" value="${S[name]}"></label>`;
  }).join("");
}

function drawCosts() {
  const {pixels, C, M, K, t, width, resolution} = S;
  for (const name of Object.keys(SLIDERS)) element(`value-${name}`).textContent = S[name];
  const standard = layerCost("standard", pixels, C, M, K), pair = separable(pixels, C, M, K);
  const shown = layerGain(M, K).toFixed(1), k = K * K;
  const rows = (layers, names) => layers.map((layer, n) => ({name: names[n], value: layer.madds,
    words: `${grouped(layer.madds)}`, look: "marked"}));
  element("layer").innerHTML = `${bars(rows([standard, ...pair], ["standard", "depthwise", "pointwise"]))}
    <p>For a pixel of ${code("out")}; parameters with the two a channel of batch norm:</p>
    ${table(["", "multiply-adds a pixel", "parameters"], [
    ["standard", `K·K·C·M = ${K}·${K}·${C}·${M} = ${grouped(k * C * M)}`, `${grouped(standard.parameters)}`],
    ["depthwise", `K·K·C = ${K}·${K}·${C} = ${grouped(k * C)}`, `${grouped(pair[0].parameters)}`],
    ["pointwise", `C·M = ${C}·${M} = ${grouped(C * M)}`, `${grouped(pair[1].parameters)}`]])}
    <p class="message" id="gain">K·K·C·M / (K·K·C + C·M) = 1 / (1/M + 1/(K·K)) = 1 / (1/${M} + 1/${k}) =
    <b>${shown} times fewer</b></p>
    <p>${k === 1 ? "With one tap there is nothing to separate: the depthwise part is extra." : `The standard convolution
    has a C×M matrix for each of its ${k} taps, the pair has one matrix for all: at most ${k} times fewer. The
    depthwise part costs the rest: with many channels it is small beside the matrix. C cancels out.`}</p>`;
  const block = blockCost({side: pixels, C, M, t, stride: 1, K});
  const names = t > 1 ? ["expand", "depthwise", "project"] : ["depthwise", "project"];
  element("costs-block").innerHTML = `${bars(rows(block, names))}
    <p class="message">${t > 1 ? `t·C·C + K·K·t·C + t·C·M = ${t}·${C}·(${C} + ${k} + ${M})` : `K·K·C + C·M =
    ${C}·(${k} + ${M})`} = ${grouped(total(block, "weights"))} weights,
    ${grouped(total(block, "parameters"))} parameters with batch norm,
    <b>${millions(total(block, "madds"))} multiply-adds</b></p>`;
  const network = networkCost(width, resolution), full = networkCost(1, 224);
  const share = what => `${Math.round(100 * network[what] / full[what])} %`;
  element("network").innerHTML = `<p class="message"><b>${millions(network.madds)} multiply-adds</b>
    (${grouped(network.madds)}), ${share("madds")} of 1.0 at 224; <b>${millions(network.parameters)} parameters</b>
    (${grouped(network.parameters)}), ${share("parameters")}.</p>
    <p>The width counts twice in a pointwise convolution, in C and in M. The resolution counts twice in the pixels, and
    not at all in the parameters.</p>`;
}
