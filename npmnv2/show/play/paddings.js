// The view "Two paddings": one channel, one window, as PyTorch and as TensorFlow pad.

const LIBRARIES = {PyTorch: "PyTorch, padding=1", TensorFlow: 'TensorFlow, padding="same"'};

const paddingPair = () => Object.keys(LIBRARIES).map(padding =>
  convolution({...S, kind: "depthwise", view: "window", way: "forward", padding}));

// Rows that the windows start at, counted in the image, where the first row is 0.
const starts = ({g}) => range(g.out).map(y => g.stride * y - g.pads[0]);

function paddingSheets(conv, other, library) {
  const {g, P, xp} = conv, [before] = g.pads;
  const {out} = after(conv, conv.steps.length), theirs = after(other, other.steps.length).out;
  const isThere = S.y < g.out && S.x < g.out;
  const inWindow = new Set(isThere ? conv.steps[stepOf(conv, {...S, view: "window"})].map(PLACE.xp) : []);
  const padded = sheet("xp", "the image, and zeros in grey", P, P, (p, q) => {
    const inside = [p, q].every(k => k >= before && k < before + g.side), on = inWindow.has(`${p},${q},0`);
    return {value: xp[p][q][0], look: `${inside ? "" : "pad"} ${on ? "on sum" : ""}`, place: `${p},${q},0`};
  });
  const result = sheet("out", "out; dotted: differs", g.out, g.out, (y, x) => {
    const differs = theirs.length === out.length && theirs[y][x][0] !== out[y][x][0];
    return {value: out[y][x][0], look: `${y === S.y && x === S.x ? "on sum" : ""} ${differs ? "differs" : ""}`,
      place: `${y},${x},0`};
  });
  const says = isThere ? `Window ${S.y}, ${S.x} begins at row ${show(starts(conv)[S.y])}, column ${
    show(starts(conv)[S.x])} of the image.` : `There is no window ${S.y}, ${S.x}.`;
  return `<section class="array read"><h3>${library}</h3><div class="sheets pair">${padded}
    <span class="written">${result}</span></div><p>${says}</p></section>`;
}

function paddingWords([pytorch, tensorflow]) {
  const p = pytorch.g, t = tensorflow.g;
  if (p.out !== t.out)
    return `<b>Other shapes.</b> PyTorch's padding=1 is one zero a side, however far the kernel reaches. At dilation
      ${p.dilation} it reaches over ${p.reach} pixels: ${code("out")} is ${p.out}×${p.out}, where "same" makes it
      ${t.out}×${t.out}.`;
  if (String(p.pads) === String(t.pads))
    return `<b>The same, here.</b> ${p.stride === 1 ? "At stride 1" : `At side ${p.side}, which is odd,`} "same" needs
      one zero on each side, which is what PyTorch puts there. ${p.stride === 1 ? "Try stride 2." : "Try side 6."}`;
  const [a, b] = [pytorch, tensorflow].map(conv => after(conv, conv.steps.length).out.flat().map(pixel => pixel[0]));
  const differ = a.filter((number, k) => number !== b[k]).length;
  return `<b>One shape, other pixels.</b> PyTorch is told the zeros, ${sum(p.pads)} along an axis. TensorFlow is told
    how many windows, and for ${t.out} along an axis needs ${plural(sum(t.pads), "zero")}. So each of its windows lies
    ${plural(p.pads[0] - t.pads[0], "pixel")} further down and to the right: ${differ} of ${a.length} numbers of
    ${code("out")} differ, and no error says so. Weights trained with one padding answer slightly wrongly with the
    other.`;
}

function drawPaddings() {
  const pair = paddingPair(), [p, t] = pair.map(conv => conv.g);
  const lacking = `(${t.out} − 1)·${t.stride} + ${t.reach} − ${t.side}`;
  element("pair").innerHTML = Object.values(LIBRARIES).map((library, k) =>
    paddingSheets(pair[k], pair[1 - k], library)).join("");
  element("padding-words").innerHTML = paddingWords(pair);
  element("padding-table").innerHTML = table(["", "PyTorch", "TensorFlow"], [
    ["is told", "the zeros: 1 on each side", `how many windows: ${t.side} / ${t.stride}, rounded up, is ${t.out}`],
    ["works out", `windows: (${p.side} + 2 − ${p.reach}) / ${p.stride} + 1, rounded down, is ${p.out}`,
      `zeros: ${lacking} = ${sum(t.pads)}${sum(t.pads) % 2 ? "; the odd one goes after" : ""}`],
    ["zeros before, after", p.pads.join(", "), t.pads.join(", ")],
    ["windows start at row", starts(pair[0]).map(show).join(", "), starts(pair[1]).map(show).join(", ")],
  ]);
}
