// What the views share: numbers as text, grids of numbers, sums, bars.

const element = id => document.getElementById(id);
const show = number => String(number).replace("-", "−");
const factor = number => (number < 0 ? `(${show(number)})` : String(number));
const grouped = number => number.toLocaleString("en-GB");
const millions = number => `${(number / 1e6).toLocaleString("en-GB", {maximumSignificantDigits: 4})} million`;
const plural = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;
const code = words => `<code>${words}</code>`;

// One channel of an array as a grid. `cell(row, column)` gives what stands in a cell, its classes, and its place in the
// array, by which the pointer finds it.
function sheet(array, label, rows, columns, cell) {
  const cells = range(rows).flatMap(row => range(columns).map(column => {
    const {value, look, place} = cell(row, column);
    const words = show(value), long = words.length > 2 ? "long" : "";
    return `<span class="cell ${look} ${long}" data-array="${array}" data-place="${place}">${words}</span>`;
  }));
  const says = `${array}, ${label}, ${plural(rows, "row")} of ${columns}`;
  return `<figure class="sheet" role="img" aria-label="${says}"><figcaption>${label}</figcaption>
    <div class="grid" style="--columns:${columns}">${cells.join("")}</div></figure>`;
}

// An array: its name, its shape, its sheets beside each other, `across` in a row.
function block(role, name, note, sheets, across) {
  return `<section class="array ${role}"><h3>${code(name)} <small>${note}</small></h3>
    <div class="sheets" style="--across:${across}">${sheets.join("")}</div></section>`;
}

// A bar for each of some layers or convolutions: how long, of the longest.
function bars(rows) {
  const most = Math.max(...rows.map(row => row.value));
  return `<div class="bars">${rows.map(({name, value, done = value, words = grouped(value), look = ""}) => `
    <span>${name}</span>
    <span class="track"><span class="fill ${look}" style="width:${100 * value / most}%">
      <span class="done" style="width:${100 * done / value}%"></span></span></span>
    <span class="number">${words}</span>`).join("")}</div>`;
}

function table(head, rows, marked = -1) {
  const line = (cells, tag) => cells.map(cell => `<${tag}>${cell}</${tag}>`).join("");
  const body = rows.map((row, k) => `<tr${k === marked ? ' class="marked"' : ""}>${line(row, "td")}</tr>`);
  return `<div class="wide"><table><tr>${line(head, "th")}</tr>${body.join("")}</table></div>`;
}
