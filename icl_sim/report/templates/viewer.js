
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const palette = ["#f3f4f6", "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442"];
const color = (a) => palette[a] || `hsl(${(a * 47) % 360} 55% 55%)`;
const $ = (id) => document.getElementById(id);
const steps = data.steps;
let low = 0, high = Math.max(0, data.tape.length - 1);
for (const s of steps) { low = Math.min(low, s[0], s[0] + s[5]); high = Math.max(high, s[0], s[0] + s[5]); }
const width = high - low + 1;
const rows = [];
let cells = Array(width).fill(0), head = 0;
data.tape.forEach((a, i) => { cells[i - low] = a; });
rows.push({ cells: cells.slice(), head });
for (const s of steps) { cells[s[0] - low] = s[4]; head = s[0] + s[5]; rows.push({ cells: cells.slice(), head }); }
const canvas = $("picture"), scale = Math.max(2, Math.min(14, Math.floor(520 / width)));
canvas.width = width * scale; canvas.height = rows.length * scale;
const draw = canvas.getContext("2d");
function paint(now) {
  rows.forEach((row, t) => {
    row.cells.forEach((a, i) => { draw.fillStyle = color(a); draw.fillRect(i * scale, t * scale, scale, scale); });
    draw.fillStyle = t === now ? "#d00" : "#000";
    const inset = scale > 3 ? scale / 4 : 0;
    draw.fillRect((row.head - low) * scale + inset, t * scale + inset, scale - 2 * inset, scale - 2 * inset);
  });
  // A token's row is the one before it: what the token's step found.
  for (const h of data.heads) {
    const look = h.rows[now];
    if (look && look[1] >= data.prompt && h.kind !== "mean") frame(look[1] - data.prompt, "#e600a9");
  }
  frame(now, "#d00");
  const box = $("scroll"), top = now * scale;
  if (top < box.scrollTop || top + scale > box.scrollTop + box.clientHeight) box.scrollTop = top - box.clientHeight / 2;
}
function frame(t, style) {
  draw.lineWidth = 2; draw.strokeStyle = style;
  draw.strokeRect(1, t * scale + 1, width * scale - 2, Math.max(scale - 2, 1));
}
function cell(text, number) { const td = document.createElement("td"); td.textContent = text; if (number) td.className = "n"; return td; }
function show(t) {
  $("time").value = t;
  const row = rows[t];
  $("now").textContent = `step ${t} of ${steps.length}`;
  $("tape").replaceChildren(...row.cells.map((a, i) => {
    const span = document.createElement("span");
    span.textContent = data.symbols[a]; span.title = `cell ${i + low}`;
    span.style.background = color(a) + "55"; if (i + low === row.head) span.className = "head";
    return span;
  }));
  const s = steps[t];
  $("token").textContent = s
    ? `Next token: in state ${data.states[s[1]]} read ${data.symbols[s[2]]}, write ${data.symbols[s[4]]}, move ${["left", "stay", "right"][s[5] + 1]}, go to ${data.states[s[3]]}`
    : (data.halted ? "Next token: END (no rule applies)" : "The trace ends here.");
  $("heads").replaceChildren(...data.heads.map((h) => {
    const tr = document.createElement("tr"), look = h.rows[t] || ["", "", "", ""];
    tr.append(cell(h.part), cell(h.kind), cell(look[0], true),
      cell(look[1] === "" ? "" : look[1] < data.prompt ? `prompt ${look[1]}` : `step ${look[1] - data.prompt + 1}`, true),
      cell(look[2], true), cell(look[3] === null ? "none lower" : look[3], true));
    return tr;
  }));
  paint(t);
}
$("about").textContent = `${steps.length} steps, ${width} cells, ${data.halted ? "halts" : "does not halt here"}. Certificate: ${data.certificate}`;
$("time").max = steps.length;
const go = (t) => show(Math.max(0, Math.min(steps.length, t)));
$("time").addEventListener("input", (e) => go(+e.target.value));
$("back").addEventListener("click", () => go(+$("time").value - 1));
$("on").addEventListener("click", () => go(+$("time").value + 1));
canvas.addEventListener("click", (e) => { const box = canvas.getBoundingClientRect(); go(Math.floor((e.clientY - box.top) / box.height * rows.length)); });
document.addEventListener("keydown", (e) => {
  const now = +$("time").value, moves = { ArrowLeft: now - 1, ArrowRight: now + 1, PageUp: now - 10, PageDown: now + 10, Home: 0, End: steps.length };
  if (e.key in moves) { e.preventDefault(); go(moves[e.key]); }
});
show(0);
