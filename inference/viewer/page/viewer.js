// The page: what happens when something is moved, pressed or dropped.

import { Camera } from "./camera.js";
import { Connection, request } from "./connection.js";
import { listenForKeys } from "./keyboard.js";
import { KINDS, Motion } from "./motion.js";
import { complain, note } from "./notes.js";
import { Sliders } from "./sliders.js";
import { Timeline } from "./timeline.js";
import { Who } from "./who.js";

const DRAG = 0.15; // degrees a pixel
const $ = (id) => document.getElementById(id);

let sliders = null; // come with the server's greeting
let command = "";
const who = new Who(() => draw(true)); // at once: making a person takes seconds
const motion = new Motion();
const timeline = new Timeline(motion, showFrame);
const arrivals = []; // times of the last second's frames
let making = 0; // since when, ms; 0: nobody is being made

const connection = new Connection(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/live`, {
  hello(data) {
    command = data.command;
    $("checkpoint").textContent = `${data.checkpoint} · ${data.image_size}² · ${data.device}`;
    if (!sliders) {
      who.set(data.person);
      who.alone = $("person").hidden = data.one_person;
      sliders = new Sliders($("groups"), data, moved);
      $("motions").append(...data.motions.map((title, i) => new Option(title, i)));
      listenForKeys(KEYS);
      document.querySelector("main").inert = false;
    }
    draw(true);
  },
  making(data) {
    making = performance.now();
    showMaking(data);
  },
  error(data) {
    making = 0;
    $("making").hidden = true;
    complain(data);
  },
  frame: showPicture,
  link(isUp) {
    $("link").textContent = isUp ? "connected" : "connection lost, trying again";
    $("link").classList.toggle("lost", !isUp);
    if (!isUp) $("making").hidden = true;
  },
});

function shot() {
  return { ...who.person, ...sliders.keyframe() };
}

function draw(urgent = false) {
  if (sliders) connection.want(shot(), urgent);
}

// The user moved a slider: playback would take it back at once.
function moved(index) {
  if (motion.has(sliders.kindOf(index))) timeline.pause();
  draw();
}

// Playback came to a frame: its controls, and the sliders' for kinds that the motion leaves free.
function showFrame(frame) {
  for (const kind of Object.keys(motion.tracks)) sliders.take(kind, motion.row(frame));
  sliders.show();
  draw();
}

let drawing = Promise.resolve(); // pictures are decoded one after the other

function showPicture(head, blob) {
  arrivals.push(performance.now());
  if (who.is(head)) {
    making = 0;
    $("making").hidden = true;
  }
  drawing = drawing.then(async () => {
    const picture = await createImageBitmap(blob);
    const canvas = $("picture");
    if (canvas.width !== picture.width) [canvas.width, canvas.height] = [picture.width, picture.height];
    canvas.getContext("2d").drawImage(picture, 0, 0);
    picture.close();
    Object.assign(canvas.dataset, { id: head.id, seed: head.seed, psi: head.psi });
    $("rate").dataset.milliseconds = Math.round(head.milliseconds);
  });
}

function showMaking(data) {
  if (!making) return;
  const seconds = Math.floor((performance.now() - making) / 1000);
  $("making-text").textContent = `Making person ${data.seed} …${seconds ? ` ${seconds} s` : ""}`;
  $("making").hidden = false;
  setTimeout(showMaking, 250, data);
}

setInterval(() => {
  const now = performance.now();
  while (arrivals.length && now - arrivals[0] > 1000) arrivals.shift();
  const { milliseconds } = $("rate").dataset;
  $("rate").textContent = arrivals.length > 1 ? `${arrivals.length} fps · ${milliseconds} ms` : milliseconds ? `${milliseconds} ms` : "–";
}, 250);

// ---- sliders and picture ------------------------------------------------------------------------------------------

function resetAll() {
  timeline.pause();
  sliders.reset();
  draw();
}
$("reset").onclick = resetAll;

$("picture").onpointerdown = (event) => event.target.setPointerCapture(event.pointerId);
$("picture").onpointermove = (event) => {
  if (!sliders || !event.target.hasPointerCapture(event.pointerId)) return;
  const group = event.shiftKey ? "Head" : "Camera";
  sliders.nudge(group, "Yaw", (event.shiftKey ? 1 : -1) * DRAG * event.movementX);
  sliders.nudge(group, "Pitch", DRAG * event.movementY);
};

// ---- camera -------------------------------------------------------------------------------------------------------

const camera = new Camera(`${connection.url.replace(/live$/, "camera")}`, {
  begin: () => timeline.pause(),
  pose(keyframe) {
    sliders.takeKeyframe(keyframe);
    draw();
  },
  error: complain,
});
timeline.onPlay = () => camera.stop();
$("drive").onclick = () => camera.toggle();

// ---- motion -------------------------------------------------------------------------------------------------------

// Changes the motion; with `said` the user is told, and can take it back.
async function change(changes, { said = "", frame = timeline.frame } = {}) {
  try {
    await motion.change(changes);
  } catch (error) {
    complain(error);
    return;
  }
  const { before } = motion;
  timeline.renew(frame);
  showTracks();
  if (said) note(said, { action: ["Undo", () => change(before)] });
}

function showTracks() {
  $("tracks").replaceChildren(
    ...KINDS.map((kind) => {
      const chip = document.createElement("span");
      const name = kind[0].toUpperCase() + kind.slice(1);
      chip.textContent = motion.has(kind) ? `${name} · ${motion.tracks[kind].length}` : `${name} · sliders`;
      chip.className = motion.has(kind) ? "" : "free";
      if (motion.has(kind)) {
        chip.title = `${motion.tracks[kind].length} keyframes of ${kind}`;
        const remove = document.createElement("button");
        remove.textContent = "×";
        remove.title = `Leave ${kind} to the sliders`;
        remove.onclick = () => {
          const { [kind]: _, ...tracks } = motion.tracks;
          change({ tracks }, { said: `${name} is left to the sliders.` });
        };
        chip.append(remove);
      }
      return chip;
    }),
  );
  for (const id of ["replace", "remove", "clear"]) $(id).disabled = !motion.keyframes;
  $("interval").value = motion.nInterval;
  $("fps").value = motion.fps;
}

const here = () => motion.keyframeAt(timeline.frame);

function addKeyframe() {
  timeline.pause();
  const first = !motion.keyframes;
  change({ tracks: motion.added(sliders.keyframe(), here()) }, { frame: first ? 0 : (here() + 1) * motion.nInterval });
}

async function openFiles(files) {
  const tracks = {};
  try {
    for (const file of files) {
      const response = await request(`/keyframes?name=${encodeURIComponent(file.name)}`, file);
      const { kind, rows } = await response.json();
      tracks[kind] = rows;
    }
  } catch (error) {
    complain(error);
    return;
  }
  if (!files.length) return;
  const said = motion.keyframes ? "Motion changed." : "";
  await change({ tracks: motion.joined(tracks) }, { frame: 0, said });
  timeline.play();
}

async function shippedMotion(index) {
  try {
    const { tracks, n_interval: nInterval, fps } = await (await request(`/motions/${index}`)).json();
    await change({ tracks, nInterval, fps }, { frame: 0, said: motion.keyframes ? "Motion changed." : "" });
    timeline.play();
  } catch (error) {
    complain(error);
  }
}

function download(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// What is free goes along as it stands, so that a video shows what the page shows.
async function exportMotion() {
  const still = sliders.keyframe();
  const tracks = Object.fromEntries(KINDS.map((kind) => [kind, motion.tracks[kind] ?? [still[kind]]]));
  try {
    download(await (await request("/export", JSON.stringify({ tracks }))).blob(), "motion.zip");
  } catch (error) {
    complain(error);
    return;
  }
  const paths = "--exp_path motion/expression.npz --pose_path motion/pose.npy --cam_path motion/camera.npy";
  const options = `--seeds ${who.person.seed} --psi ${who.person.psi} --n_interval ${motion.nInterval} --fps ${motion.fps}`;
  note("Saved as motion.zip. As a video:", { code: `unzip motion.zip -d motion && ${command} ${options} ${paths}` });
}

async function savePng() {
  timeline.pause();
  const name = `seed${who.person.seed}${motion.frames ? `_frame${String(timeline.frame).padStart(3, "0")}` : ""}.png`;
  try {
    download(await (await request("/frame.png", JSON.stringify(shot()))).blob(), name);
  } catch (error) {
    complain(error);
  }
}

async function exportAvatar() {
  const name = `person${who.person.seed}_psi${who.person.psi}.glb`;
  const { tracks, nInterval, fps } = motion;
  $("avatar").disabled = true;
  note("Making the avatar: a few seconds.");
  try {
    const asked = JSON.stringify({ ...shot(), tracks, n_interval: nInterval, fps });
    download(await (await request("/avatar.glb", asked)).blob(), name);
    note(`Saved as ${name}. A page that plays it:`, { code: `python -m inference.portable page --glb ${name} --out site` });
  } catch (error) {
    complain(error);
  } finally {
    $("avatar").disabled = false;
  }
}

$("avatar").onclick = exportAvatar;
$("add").onclick = addKeyframe;
$("replace").onclick = () => change({ tracks: motion.replaced(sliders.keyframe(), here()) }, { frame: here() * motion.nInterval });
$("remove").onclick = () => change({ tracks: motion.removed(here()) }, { said: "Keyframe deleted." });
$("clear").onclick = () => change({ tracks: {} }, { frame: 0, said: "Motion cleared." });
$("open").onclick = () => $("files").click();
$("files").onchange = () => {
  openFiles([...$("files").files]);
  $("files").value = "";
};
$("motions").onchange = () => {
  if ($("motions").value !== "") shippedMotion($("motions").value);
  $("motions").value = "";
};
$("export").onclick = exportMotion;
$("save").onclick = savePng;
$("interval").onchange = () => change({ nInterval: Math.max(1, Math.round(Number($("interval").value)) || 1) }, { frame: 0 });
$("fps").onchange = () => {
  motion.fps = Math.min(Math.max(Number($("fps").value) || 20, 0.5), 60);
  showTracks();
  timeline.renew(timeline.frame);
};
document.ondragover = (event) => event.preventDefault();
document.ondrop = (event) => {
  event.preventDefault();
  openFiles([...event.dataTransfer.files]);
};

// ---- keyboard -----------------------------------------------------------------------------------------------------

const KEYS = {
  " ": () => timeline.toggle(),
  ",": () => timeline.step(-1),
  ".": () => timeline.step(1),
  "[": () => timeline.stepKeyframe(-1),
  "]": () => timeline.stepKeyframe(1),
  k: addKeyframe,
  c: () => camera.toggle(),
  n: () => who.somebodyElse(),
  r: resetAll,
  o: () => $("open").click(),
  e: exportMotion,
  s: savePng,
  "?": () => $("keys").showModal(),
};
$("show-keys").onclick = KEYS["?"];

showTracks();
