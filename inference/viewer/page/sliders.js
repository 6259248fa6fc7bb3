// The controls of a frame (a row of numbers) and the sliders that show and move them.

const sum = (weights, row, rest) =>
  Object.entries(weights).reduce((total, [i, weight]) => total + weight * (row[i] - rest[i]), 0);

export class Sliders {
  // `onMove(index)` is called when the user moves something; `index` is one of the controls that moved.
  constructor(container, { groups, rest, spans }, onMove) {
    Object.assign(this, { rest, spans, onMove, row: [...rest], all: [] });
    container.replaceChildren(...groups.map((group) => this.makeGroup(group)));
    this.show();
  }

  makeGroup({ title, sliders, rest_title: restTitle, rest, open, disabled }) {
    const own = [];
    const group = fold(title, sliders.map((slider) => this.makeSlider(title, slider, own)));
    group.open = open;
    if (rest.length) group.append(fold(restTitle, rest.map((slider) => this.makeSlider(title, slider, own))));
    const reset = document.createElement("button");
    reset.className = "quiet";
    reset.textContent = "Reset";
    reset.title = `${title}: back to rest`;
    reset.onclick = (event) => {
      event.preventDefault(); // does not fold
      const touched = new Set(own.flatMap((entry) => Object.keys(entry.moves).map(Number)));
      for (const i of touched) this.row[i] = this.rest[i];
      this.moved([...touched][0]);
    };
    const space = document.createElement("span");
    space.className = "space";
    group.querySelector("summary").append(space, reset);
    if (disabled) {
      group.title = disabled;
      group.classList.add("disabled");
      for (const input of [reset, ...group.querySelectorAll("input")]) input.disabled = true;
    }
    return group;
  }

  makeSlider(title, slider, group) {
    const digits = slider.unit ? 1 : 2;
    const step = slider.unit ? 0.5 : 0.01;
    const line = document.createElement("div");
    line.className = "slider";
    if (slider.hint) line.title = slider.hint;
    const label = document.createElement("label");
    label.textContent = slider.label + (slider.unit ? ` ${slider.unit}` : "");
    const range = Object.assign(document.createElement("input"), { type: "range", min: slider.low, max: slider.high, step });
    const number = Object.assign(document.createElement("input"), { type: "number", step });
    for (const input of [range, number]) input.setAttribute("aria-label", `${slider.label} ${slider.hint}`.trim());
    range.dataset.slider = `${title} ${slider.label}`;
    range.oninput = () => this.set(entry, Number(range.value));
    number.onchange = () => (number.value === "" ? this.show() : this.set(entry, Number(number.value)));
    label.ondblclick = () => this.set(entry, 0);
    line.append(label, range, number);
    const entry = { ...slider, title, line, range, number, digits, shown: null };
    group.push(entry);
    this.all.push(entry);
    return line;
  }

  // Moves a slider to `value`, and everything that it moves.
  set(entry, value) {
    if (entry.range.disabled) return;
    const change = value - sum(entry.reads, this.row, this.rest);
    for (const [i, weight] of Object.entries(entry.moves)) this.row[i] += weight * change;
    this.moved(Number(Object.keys(entry.moves)[0]));
  }

  // Adds to a slider, within its range.
  nudge(title, label, change) {
    const entry = this.all.find((each) => each.title === title && each.label === label);
    const value = sum(entry.reads, this.row, this.rest) + change;
    this.set(entry, Math.min(Math.max(value, entry.low), entry.high));
  }

  moved(index) {
    this.show();
    this.onMove(index);
  }

  reset() {
    this.row = [...this.rest];
    this.show();
  }

  // Takes the controls of one kind from a row.
  take(kind, row) {
    const [start, end] = this.spans[kind];
    for (let i = start; i < end; i++) this.row[i] = row[i];
  }

  // Takes all controls from {expression [64], pose [6][3], camera [2]}.
  takeKeyframe(keyframe) {
    for (const [kind, [start]] of Object.entries(this.spans)) keyframe[kind].flat().forEach((value, i) => (this.row[start + i] = value));
    this.show();
  }

  kindOf(index) {
    return Object.keys(this.spans).find((kind) => index >= this.spans[kind][0] && index < this.spans[kind][1]);
  }

  // One keyframe {expression [64], pose [6][3], camera [2]}.
  keyframe(row = this.row) {
    const part = (kind) => Array.from(row.slice(...this.spans[kind]));
    const angles = part("pose");
    const pose = [0, 3, 6, 9, 12, 15].map((i) => angles.slice(i, i + 3));
    return { expression: part("expression"), pose, camera: part("camera") };
  }

  show() {
    for (const entry of this.all) {
      const value = sum(entry.reads, this.row, this.rest);
      if (value === entry.shown) continue;
      entry.shown = value;
      entry.range.value = value;
      const text = value.toFixed(entry.digits);
      entry.number.value = Number(text) === 0 ? (0).toFixed(entry.digits) : text;
      entry.line.classList.toggle("moved", Math.abs(value) > 1e-6);
      fill(entry.range, 0, value);
    }
  }
}

// Colours a slider's track from one value to another.
export function fill(range, from, to) {
  const [low, high] = [Number(range.min), Number(range.max)];
  const part = (value) => Math.min(Math.max((value - low) / (high - low || 1), 0), 1);
  const [a, b] = [part(from), part(to)].sort((x, y) => x - y);
  range.style.setProperty("--wide", `${100 * (b - a)}%`);
  range.style.setProperty("--from", `${b - a < 1 ? (100 * a) / (1 - (b - a)) : 0}%`);
}

function fold(title, lines) {
  const details = document.createElement("details");
  const summary = document.createElement("summary");
  summary.textContent = title;
  details.append(summary, ...lines);
  return details;
}
