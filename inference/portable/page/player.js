// The page: what happens when something is moved, pressed or dropped. CONFIG and the avatar come from page.py.

const MIN_STEP = 1e-3; // of a follower's way to the pointer
const SWATCHES = ["#ffffff", "#d9d4cc", "#9fb7c9", "#5b7f72", "#2b2d36", "#000000"];
const FACES = {
  Neutral: {},
  Smile: { mouthSmileLeft: 0.8, mouthSmileRight: 0.8, cheekSquintLeft: 0.5, cheekSquintRight: 0.5 },
  Laugh: { mouthSmileLeft: 1, mouthSmileRight: 1, jawOpen: 0.45, eyeSquintLeft: 0.6, eyeSquintRight: 0.6 },
  Surprise: { jawOpen: 0.5, browInnerUp: 1, browOuterUpLeft: 1, browOuterUpRight: 1, eyeWideLeft: 0.8, eyeWideRight: 0.8 },
  Sad: { mouthFrownLeft: 0.8, mouthFrownRight: 0.8, browInnerUp: 0.9, eyeSquintLeft: 0.3, eyeSquintRight: 0.3 },
  Angry: { browDownLeft: 1, browDownRight: 1, noseSneerLeft: 0.6, noseSneerRight: 0.6, mouthPressLeft: 0.6, mouthPressRight: 0.6 },
  Kiss: { mouthPucker: 1, eyeBlinkLeft: 1, eyeBlinkRight: 1 },
  Wink: { eyeBlinkLeft: 1, mouthSmileLeft: 0.7, cheekSquintLeft: 0.6 },
};
const $ = (id) => document.getElementById(id);

const stage = new Stage($("picture"));
const config = globalThis.CONFIG;
let figure = null;
let sliders = null;
let motions = [];
let motion = null; // the one that is chosen
let time = 0;
let playing = false;
let dirty = true; // the row has changed
let before = 0; // when the last picture was drawn, ms
let pointer = null; // where it is, -1..1 each way, while followed
const drawn = []; // times of the last second's pictures

// ---- the avatar ---------------------------------------------------------------------------------------------------

async function load(buffer, url, name) {
  figure = await readFigure(buffer);
  const { names } = figure;
  stage.show(figure);
  const groups = config.groups[config.names.indexOf(names)].map(reachable).filter((group) => group.sliders.length || group.rest.length);
  sliders = new Sliders($("groups"), { ...config, groups }, moved);
  showFaces();
  motions = [...figure.animations.map((clip) => fromAnimation(clip, figure)), ...config.motions.map((rows) => fromRows(rows, config.portrait))];
  choose(null);
  showMotions();
  Object.assign($("avatar"), { href: url, download: name, textContent: `Download .${name.split(".").at(-1)}` });
  $("who").textContent = [figure.facts.checkpoint, "seed" in figure.facts ? `seed ${figure.facts.seed}` : ""].filter(Boolean).join(", ");
  $("loading").hidden = true;
  document.querySelector("main").inert = false;
  dirty = true;
}

async function readFigure(buffer) {
  if (isLinear(buffer)) return new Splats(buffer, config.names, config.portrait);
  const gltf = await new THREE.GLTFLoader().parseAsync(buffer, "");
  const found = Object.keys(morphs(gltf) ?? {});
  const known = config.names.map((each) => found.filter((title) => each.includes(title)).length);
  return new Figure(gltf, config.names[known.indexOf(Math.max(...known))]); // some names are in both lists
}

function morphs(gltf) {
  let found = null;
  gltf.scene.traverse((each) => (found ??= each.morphTargetDictionary));
  return found;
}

// A group of sliders without those that would move nothing here.
function reachable(group) {
  const works = ({ moves }) => Object.keys(moves).some((column) => figure.has(Number(column)));
  return { ...group, sliders: group.sliders.filter(works), rest: group.rest.filter(works) };
}

function showFaces() {
  const some = (amounts) => !Object.keys(amounts).length || Object.keys(amounts).some((name) => figure.columnOf.has(name));
  const faces = Object.entries(FACES).filter(([, amounts]) => some(amounts));
  $("faces").hidden = faces.length < 2;
  $("faces").replaceChildren(...faces.map(([title, amounts]) => button(title, () => {
    pause();
    for (const column of figure.columnOf.values()) sliders.row[column] = 0;
    setAmounts(amounts);
  })));
}

function button(title, onclick) {
  return Object.assign(document.createElement("button"), { textContent: title, onclick });
}

// ---- what moves it ------------------------------------------------------------------------------------------------

// Expressions by their names; those that this avatar has not are passed over.
function setAmounts(amounts) {
  for (const [name, amount] of Object.entries(amounts)) {
    if (figure.columnOf.has(name)) sliders.row[figure.columnOf.get(name)] = amount;
  }
  changed();
}

function changed() {
  sliders.show();
  dirty = true;
}

function moved() {
  pause();
  dirty = true;
}

function choose(next) {
  [motion, time] = [next, 0];
  $("play").disabled = $("scrub").disabled = !motion;
  $("moves-camera").hidden = !motion?.camera;
  if (!motion) pause();
  seek(0);
}

function seek(seconds) {
  if (motion) {
    time = ((seconds % motion.seconds) + motion.seconds) % motion.seconds;
    motion.write(time, sliders.row);
    changed();
  }
  $("scrub").value = motion ? time / motion.seconds : 0;
  fill($("scrub"), 0, Number($("scrub").value));
  $("clock").textContent = motion ? `${time.toFixed(1)} / ${motion.seconds.toFixed(1)} s` : "";
}

function play() {
  if (!motion || playing) return;
  $("follow").checked = false;
  setPlaying(true);
}

function pause() {
  setPlaying(false);
}

function setPlaying(value) {
  playing = value;
  document.body.classList.toggle("playing", playing);
  $("play").setAttribute("aria-label", playing ? "Pause" : "Play");
}

function showMotions(chosen = -1) {
  const first = new Option(motions.length ? "Motions…" : "No motions", "");
  $("motions").replaceChildren(first, ...motions.map(({ name }, i) => new Option(name, i, false, i === chosen)));
}

function reset() {
  choose(null);
  showMotions();
  sliders.reset();
  $("follow").checked = false;
  stage.frame();
  changed();
}

// Head and eyes turn to the pointer, a part of the way with every picture.
function followPointer(seconds) {
  const part = 1 - Math.exp(-8 * seconds);
  const [x, y] = pointer;
  const toward = (column, wanted) => {
    if (column === undefined || !figure.has(column)) return;
    const change = part * (wanted - sliders.row[column]);
    if (Math.abs(change) > MIN_STEP * 0.01) dirty = true;
    sliders.row[column] += change;
  };
  for (const [joint, share] of [[0, 0.4], [3, 0.6]]) {
    toward(64 + 3 * joint + 1, share * 0.5 * x);
    toward(64 + 3 * joint + 2, share * -0.3 * y);
  }
  const amounts = { eyeLookOutLeft: x, eyeLookInRight: x, eyeLookInLeft: -x, eyeLookOutRight: -x };
  for (const side of ["Left", "Right"]) Object.assign(amounts, { [`eyeLookUp${side}`]: y, [`eyeLookDown${side}`]: -y });
  for (const [name, amount] of Object.entries(amounts)) toward(figure.columnOf.get(name), Math.max(0.7 * amount, 0));
  sliders.show();
}

function tick(now) {
  requestAnimationFrame(tick);
  const seconds = Math.min((now - before) / 1000, 0.25);
  before = now;
  while (drawn.length && now - drawn[0] > 1000) drawn.shift();
  $("rate").textContent = drawn.length > 2 ? `${drawn.length} fps` : "";
  if (!figure) return;
  if (playing) seek(time + seconds);
  if ($("follow").checked && pointer) followPointer(seconds);
  const withCamera = motion?.camera && $("with-camera").checked;
  if (withCamera) motion.camera(time, stage.camera);
  else stage.orbit.update();
  if (!dirty && !stage.changed) return;
  draw(now);
}

function draw(now) {
  figure.apply(sliders.row, stage.camera);
  stage.draw();
  dirty = false;
  drawn.push(now);
}

// ---- files --------------------------------------------------------------------------------------------------------

async function open(file) {
  try {
    if (/\.(glb|safetensors)$/i.test(file.name)) {
      await load(await file.arrayBuffer(), URL.createObjectURL(file), file.name);
      return;
    }
    const actions = config.names[0].slice(0, config.actions);
    if (!actions.some((name) => figure.columnOf.has(name))) throw new Error(`${file.name}: this avatar's expressions have no names`);
    motions.push(fromRecording(file.name, readRecording(await file.text(), file.name, actions), actions, figure));
    showMotions(motions.length - 1);
    choose(motions.at(-1));
    play();
  } catch (error) {
    complain(error);
  }
}

function save(url, name) {
  Object.assign(document.createElement("a"), { href: url, download: name }).click();
}

async function begin() {
  const { file } = config;
  try {
    if (location.protocol === "file:") { // where nothing can be fetched, the same bytes are a script
      await new Promise((resolve, reject) => {
        const script = Object.assign(document.createElement("script"), { src: `${file}.js`, onload: resolve });
        script.onerror = () => reject(new Error(`${file}.js: expected beside this page`));
        document.head.append(script);
      });
      await load(Uint8Array.from(atob(globalThis.AVATAR), (each) => each.charCodeAt(0)).buffer, file, file);
    } else {
      const response = await fetch(file);
      if (!response.ok) throw new Error(`${file}: ${response.status} ${response.statusText}`);
      await load(await response.arrayBuffer(), file, file);
    }
  } catch (error) {
    $("loading").textContent = "No avatar";
    complain(error);
    return;
  }
  if (motions.length && !matchMedia("(prefers-reduced-motion: reduce)").matches) {
    showMotions(0);
    choose(motions[0]);
    play();
  }
}

// ---- what is pressed ----------------------------------------------------------------------------------------------

$("play").onclick = () => (playing ? pause() : play());
$("motions").onchange = () => {
  choose(motions[$("motions").value] ?? null);
  play();
};
$("scrub").oninput = () => {
  pause();
  seek($("scrub").value * (motion?.seconds ?? 0) * 0.9999); // its end is its beginning
};
$("open").onclick = () => $("file").click();
$("file").onchange = () => {
  for (const file of $("file").files) open(file);
  $("file").value = "";
};
document.ondragover = (event) => event.preventDefault();
document.ondrop = (event) => {
  event.preventDefault();
  for (const file of event.dataTransfer.files) open(file);
};
$("reset").onclick = reset;
$("save").onclick = () => save(player.picture(1024), "person.png");
$("follow").onchange = () => $("follow").checked && pause();
$("picture").ondblclick = () => stage.frame();
$("picture").addEventListener("pointerdown", () => ($("with-camera").checked = false));
document.addEventListener("pointermove", ({ clientX, clientY }) => {
  const box = $("picture").getBoundingClientRect();
  const part = (value, start, length) => Math.min(Math.max((2 * (value - start)) / length - 1, -1.4), 1.4);
  pointer = [part(clientX, box.left, box.width), -part(clientY, box.top, 0.8 * box.height)];
});
$("background").oninput = () => paint($("background").value);
$("swatches").append(...SWATCHES.map((colour) => {
  const swatch = button("", () => paint(colour));
  swatch.style.background = colour;
  swatch.setAttribute("aria-label", `Background ${colour}`);
  return swatch;
}));
function paint(colour) {
  $("background").value = colour;
  stage.setBackground(colour);
}
listenForKeys({ " ": () => $("play").click(), r: reset, s: () => $("save").click(), o: () => $("open").click() });

globalThis.player = { // for the console, and for tests
  get row() { return sliders?.row; },
  get rate() { return drawn.length; },
  get motions() { return motions.map(({ name, seconds }) => ({ name, seconds })); },
  pause, reset, play, seek, paint, open, stage,
  choose(index) {
    choose(motions[index] ?? null);
    showMotions(index);
  },
  change(amounts) {
    pause();
    setAmounts(amounts);
  },
  picture(side) {
    figure.apply(sliders.row, stage.camera, true);
    return stage.picture(side);
  },
};
requestAnimationFrame(tick);
begin();
