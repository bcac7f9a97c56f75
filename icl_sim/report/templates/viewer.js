"use strict";
// The page holds the machine, not its run: the run is replayed here, and compared at its end with
// what the weights said. So any step of millions can be looked at.
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const ROWS = 400, COLUMNS = 520, SPAN = 40, MEMORY = 1 << 26, CHUNK = 1 << 21;
const { steps, low, symbols, states, rules } = data, S = symbols.length, width = data.high - low + 1;
const number = (n) => n.toLocaleString("en");

// A configuration: the tape from cell `low` on, head, state, steps done.
const start = () => {
  const tape = new Uint8Array(width);
  data.tape.forEach((a, i) => { tape[i - low] = a; });
  return { tape, head: 0, state: 0, step: 0 };
};
const copy = (m) => ({ ...m, tape: m.tape.slice() });
const next = (m) => m.state * S + m.tape[m.head - low];
// Runs to step `until`, or to the first step behind it that uses the rule of code `wanted`.
function advance(m, until, wanted = -1) {
  let { tape, head, state, step } = m;
  while (step < until) {
    const code = state * S + tape[head - low], rule = rules[code];
    if (code === wanted || rule[0] < 0) break;
    tape[head - low] = rule[1]; head += rule[2]; state = rule[0]; step += 1;
  }
  m.head = head; m.state = state; m.step = step;
  return m;
}

// Configurations that are kept on the way, so that no step is far from one.
const kept = [start()], stride = Math.max(1, Math.ceil(steps / ROWS));
const most = Math.max(1, Math.floor(MEMORY / width)), apart = stride * Math.ceil(ROWS / most);
let live = start();  // the last one that was shown
function at(step) {
  if (live.step > step || step - live.step > apart) {
    const near = kept[Math.min(kept.length - 1, Math.floor(step / apart))];
    if (live.step > step || near.step > live.step) live = copy(near);
  }
  return advance(live, step);
}

const palette = ["", "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442"];
const named = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
let colors, ink;  // [red, green, blue] of each symbol, and of the head
function scheme() {
  const rgb = (style) => {
    probe.fillStyle = style; probe.fillRect(0, 0, 1, 1);
    return [...probe.getImageData(0, 0, 1, 1).data.slice(0, 3)];
  };
  ink = rgb(named("--ink"));
  colors = symbols.map((_, a) => rgb(a ? palette[a] || `hsl(${(a * 47) % 360} 55% 55%)` : named("--shade")));
}

// Paints one row of a picture: a column is a cell or, where there are more, the mean of some of its own.
function row(image, y, m, from, size, columns) {
  const skip = Math.max(1, size >> 5), place = Math.floor((m.head - from) / size);
  for (let x = 0; x < columns; x++) {
    let red = 0, green = 0, blue = 0, n = 0;
    for (let c = from + x * size; c < from + (x + 1) * size; c += skip) {
      const color = colors[m.tape[c - low] || 0];
      red += color[0]; green += color[1]; blue += color[2]; n += 1;
    }
    const p = 4 * (y * columns + x), pixels = image.data;
    if (x === place) [red, green, blue] = ink; else { red /= n; green /= n; blue /= n; }
    pixels[p] = red; pixels[p + 1] = green; pixels[p + 2] = blue; pixels[p + 3] = 255;
  }
}
// A canvas whose pixels are `scale` on the page, with marks drawn over a picture that stays.
class Picture {
  constructor(canvas) { this.canvas = canvas; }
  paint(columns, rows, wide, draw) {
    this.columns = columns; this.rows = rows;
    this.scale = Math.max(1, Math.min(14, Math.floor(wide / columns)));
    const small = document.createElement("canvas"), { canvas, scale } = this;
    small.width = columns; small.height = rows;
    const pen = small.getContext("2d"), image = pen.createImageData(columns, rows);
    draw(image); pen.putImageData(image, 0, 0);
    this.small = small; canvas.width = columns * scale; canvas.height = rows * scale;
  }
  mark(marks) {
    const { canvas, scale, small } = this, pen = canvas.getContext("2d");
    pen.imageSmoothingEnabled = false;
    pen.drawImage(small, 0, 0, canvas.width, canvas.height);
    pen.lineWidth = 2;
    for (const [y, style] of marks) {
      pen.strokeStyle = style;
      pen.strokeRect(1, y * scale + (scale > 3 ? 1 : 0), canvas.width - 2, Math.max(scale - 2, 1));
    }
  }
  rowAt(event) {
    const box = this.canvas.getBoundingClientRect();
    return Math.max(0, Math.min(this.rows - 1, Math.floor((event.clientY - box.top) / box.height * this.rows)));
  }
}

// The run as a whole, sampled, where it is longer than a window.
const whole = new Picture($("whole")), size = Math.ceil(width / COLUMNS), columns = Math.ceil(width / size);
const samples = Math.floor(steps / stride) + 1;
const element = (tag, text, name) => {
  const made = document.createElement(tag);
  made.textContent = text;
  if (name) made.className = name;
  return made;
};
function overview() {
  const m = start();
  whole.paint(columns, samples, COLUMNS, (image) => {
    for (let y = 0; y < samples; y++) row(image, y, advance(m, y * stride), low, size, columns);
  });
}
async function replay() {
  const m = start();
  for (let mark = apart; m.step < steps;) {
    const goal = Math.min(mark, steps, m.step + CHUNK);
    advance(m, goal);
    if (m.step < goal) break;  // it halted, or is not the run that was promised
    if (m.step === mark) { kept.push(copy(m)); mark += apart; }
    if (steps > CHUNK) {
      $("check").textContent = `Replaying: step ${number(m.step)} of ${number(steps)}`;
      await new Promise((go) => setTimeout(go));
    }
  }
  let sum = 0;
  for (const a of m.tape) sum = (sum * 31 + a) % 2147483647;
  const same = m.step === steps && m.state === data.end.state && m.head === data.end.head && sum === data.end.sum;
  $("check").textContent = same
    ? "Replayed here: steps, state, head and tape at the end are the interpreter's."
    : "Replayed here, the run does not end as the interpreter's did: do not trust this page.";
  $("check").className = same ? "meta" : "alert";
  if (steps > ROWS) { overview(); $("overview").hidden = false; show(now, true); }
}

// The window: as many rows as fit, the cells that the head stands on in them.
const near = new Picture($("picture"));
let first = -1, last, now = 0;
function paintWindow(t) {
  first = Math.max(0, Math.min(Math.floor(t / (ROWS / 2)) * (ROWS / 2) - ROWS / 2, steps - ROWS));
  last = Math.min(steps, first + ROWS);
  const run = [copy(at(first))];
  let left = run[0].head, right = left;
  const m = copy(run[0]);
  while (m.step < last) { advance(m, m.step + 1); left = Math.min(left, m.head); right = Math.max(right, m.head); }
  left = Math.max(low, left - 3); right = Math.min(data.high, right + 3);
  if (steps <= ROWS && width <= COLUMNS) { left = low; right = data.high; }
  const wide = right - left + 1;
  near.paint(wide, last - first + 1, $("scroll").clientWidth || COLUMNS, (image) => {
    const m = copy(run[0]);
    for (let y = 0; y <= last - first; y++) row(image, y, advance(m, first + y), left, 1, wide);
  });
  $("window").textContent = steps > ROWS ? `Steps ${number(first)} to ${number(last)}, cells ${number(left)} to ${number(right)}. ` : "";
}

const table = [];  // the button of each rule
function ruleTable() {
  const head = document.createElement("tr");
  head.append(element("th", "state"), ...symbols.map((a) => element("th", `reads ${a}`)));
  head.childNodes.forEach((th) => th.setAttribute("scope", "col"));
  $("rules").append(head);
  states.forEach((state, q) => {
    const line = document.createElement("tr"), name = element("th", state);
    name.setAttribute("scope", "row"); line.append(name);
    symbols.forEach((_, a) => {
      const code = q * S + a, [after, written, move] = rules[code], td = document.createElement("td");
      line.append(td);
      if (after < 0) { td.textContent = "halt"; return; }
      const button = element("button", `${symbols[written]} ${"L-R"[move + 1]} ${states[after]}`);
      button.title = "to its next use";
      button.addEventListener("click", () => {
        const m = copy(at(now));
        advance(m, Math.min(now + 1, steps)); advance(m, steps, code);
        if (m.step < steps) go(m.step); else say(`No later step uses this rule.`);
      });
      td.append(table[code] = button);
    });
    if (symbols.some((_, a) => rules[q * S + a][0] >= 0)) $("rules").append(line);
  });
}

const say = (text) => { $("token").textContent = text; };
function cell(text, numeric) { return element("td", text, numeric ? "n" : ""); }
function show(t, again) {
  now = t;
  const m = at(t);
  $("time").value = t; $("time").setAttribute("aria-valuetext", `step ${number(t)} of ${number(steps)}`);
  if (document.activeElement !== $("step")) $("step").value = t;
  const from = Math.max(low, Math.min(m.head - SPAN, data.high - 2 * SPAN)), to = Math.min(data.high, from + 2 * SPAN);
  const cells = [];
  for (let c = from; c <= to; c++) {
    const a = m.tape[c - low], span = element("span", symbols[a], c === m.head ? "head" : "");
    span.title = `cell ${c}`; span.style.background = a ? `rgb(${colors[a].join(" ")} / .35)` : "";
    cells.push(span);
  }
  $("tape").replaceChildren(...cells);
  const head = cells[m.head - from], tape = $("tape");
  tape.scrollLeft = head.offsetLeft - tape.offsetLeft - tape.clientWidth / 2;
  table.forEach((button) => button.removeAttribute("aria-current"));
  const code = next(m), rule = rules[code];
  if (t === steps && !data.halted) say("The run that was made ends here.");
  else if (rule[0] < 0) say("Next token: END (no rule applies)");
  else {
    table[code].setAttribute("aria-current", "true");
    say(`Next token: in state ${states[m.state]} read ${symbols[code % S]}, write ${symbols[rule[1]]}, move ${["left", "stay", "right"][rule[2] + 1]}, go to ${states[rule[0]]}`);
  }
  const marks = [];
  $("heads").replaceChildren(...data.heads.map((h) => {
    const tr = document.createElement("tr"), look = h.rows[t] || ["", "", "", ""];
    const where = look[1] === "" ? "" : look[1] < data.prompt ? `prompt ${look[1]}` : `step ${look[1] - data.prompt + 1}`;
    tr.append(cell(h.part), cell(h.kind), cell(look[0], true), cell(where, true), cell(look[2], true), cell(look[3] === null ? "none lower" : look[3], true));
    // A token's row is the one before it: what the token's step found.
    if (look[1] >= data.prompt && h.kind !== "mean") marks.push(look[1] - data.prompt);
    return tr;
  }));
  $("looks").hidden = !($("known").hidden = t < data.known);
  if (again || first < 0 || t < first || t > last) paintWindow(t);
  near.mark([...marks.filter((y) => y >= first && y <= last).map((y) => [y - first, "#e600a9"]), [t - first, "#d00"]]);
  if (whole.small) whole.mark([[Math.min(samples - 1, Math.floor(t / stride)), "#d00"]]);
  const box = $("scroll"), top = (t - first) * near.scale;
  if (top < box.scrollTop || top + near.scale > box.scrollTop + box.clientHeight) box.scrollTop = top - box.clientHeight / 2;
}

let timer = 0;
const go = (t) => {
  if (!Number.isFinite(t)) return;
  show(Math.max(0, Math.min(steps, Math.round(t))));
  clearTimeout(timer);
  if (!playing) timer = setTimeout(() => history.replaceState(null, "", `#step=${now}`), 300);
};
let playing = false;
function play(on) {
  playing = on && steps > 0;
  $("play").textContent = playing ? "\u23F8 pause" : "\u25B6 play";
  $("token").setAttribute("aria-live", playing ? "off" : "polite");
  if (!playing) { go(now); return; }
  if (now === steps) show(0);
  let before = performance.now(), due = 0;
  requestAnimationFrame(function frame(time) {
    if (!playing) return;
    due += Math.max(0, time - before) / 1000 * +$("speed").value; before = time;
    if (due >= 1) { go(now + Math.floor(due)); due %= 1; }
    if (now === steps) play(false); else requestAnimationFrame(frame);
  });
}
function faster(by) {
  const select = $("speed");
  select.selectedIndex = Math.max(0, Math.min(select.options.length - 1, select.selectedIndex + by));
}

scheme(); ruleTable();
$("about").textContent = `${number(steps)} steps, ${number(width)} cells, ${data.halted ? "halts" : "does not halt here"}.${data.certificate ? ` Certificate: ${data.certificate}` : ""}`;
$("sampled").textContent = `One row in ${number(stride)} steps, ${size > 1 ? `one column for ${number(size)} cells, their colors mixed` : "one column a cell"}; what lies between two rows is not drawn. Red: this step. A click goes there.`;
$("known").textContent = data.known === 0 ? "Not on this page: icl-sim emulate --trace writes one that shows it." : `Kept for the first ${number(data.known)} steps alone: the pass that shows them costs the square of the steps.`;
$("time").max = $("step").max = steps;
for (let speed = 1; speed <= Math.max(100, steps / 10); speed *= 10) for (const by of [1, 3]) {
  const option = element("option", `${number(speed * by)} a second`);
  option.value = speed * by; $("speed").append(option);
}
$("speed").selectedIndex = 2;
$("time").addEventListener("input", (e) => go(+e.target.value));
$("back").addEventListener("click", () => go(now - 1));
$("on").addEventListener("click", () => go(now + 1));
$("play").addEventListener("click", () => play(!playing));
$("find").addEventListener("submit", (e) => { e.preventDefault(); go(+$("step").value); });
$("step").addEventListener("change", (e) => go(+e.target.value));
$("picture").addEventListener("click", (e) => go(first + near.rowAt(e)));
$("whole").addEventListener("click", (e) => go(whole.rowAt(e) * stride));
document.addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || e.target.matches("input[type=number], select")) return;
  const moves = { ArrowLeft: now - 1, ArrowRight: now + 1, PageUp: now - 10, PageDown: now + 10, Home: 0, End: steps };
  if (e.key in moves) go(moves[e.key]);
  else if (e.key === " " && !e.target.matches("button, summary")) play(!playing);
  else if (e.key === "+") faster(1);
  else if (e.key === "-") faster(-1);
  else if (e.key === "/") $("step").select();
  else return;
  e.preventDefault();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { scheme(); if (whole.small) overview(); show(now, true); });
const asked = () => +(/^#step=(\d+)$/.exec(location.hash) || [0, 0])[1];
addEventListener("hashchange", () => go(asked()));
show(Math.min(steps, asked()));
replay();
