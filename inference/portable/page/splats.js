// A linear avatar (docs/avatars.md) as Gaussians: what figure.js is for a .glb file. A worker makes frames and sorts them.
import { makeFrames } from "./frames.js";

const ARRAYS = { F32: Float32Array, F64: Float64Array, I8: Int8Array, I64: BigInt64Array };
const PARTS = { places: 3, shapes: 3, shapes2: 3, colours: 4 }; // numbers a Gaussian
const [ONE, ONE_MINUS_ALPHA, ADD, CUSTOM] = [201, 205, 100, 5]; // three.js' names of blending, colours times alpha

const VERTEX = `
precision highp float;
uniform mat4 projectionMatrix, viewMatrix;
uniform float pixels, blur;
in vec3 position, places, shapes, shapes2;
in vec4 colours;
out vec2 corner;
out vec4 shade;
void main() {
  vec4 eye = viewMatrix * vec4(places, 1.0);
  vec4 clip = projectionMatrix * eye;
  mat3 turn = mat3(viewMatrix);
  mat3 spread = turn * mat3(shapes, vec3(shapes.y, shapes2.xy), vec3(shapes.z, shapes2.yz)) * transpose(turn);
  vec2 focal = 0.5 * pixels * vec2(projectionMatrix[0][0], projectionMatrix[1][1]);
  vec2 reach = 0.65 * pixels / focal;
  vec2 at = clamp(eye.xy / -eye.z, -reach, reach);
  vec3 u = vec3(focal.x, 0.0, focal.x * at.x) / -eye.z, v = vec3(0.0, focal.y, focal.y * at.y) / -eye.z;
  float a = dot(u, spread * u) + blur, b = dot(u, spread * v), c = dot(v, spread * v) + blur;
  float middle = 0.5 * (a + c), half_way = length(vec2(0.5 * (a - c), b));
  vec2 along = abs(b) < 1e-6 ? (a >= c ? vec2(1.0, 0.0) : vec2(0.0, 1.0)) : normalize(vec2(b, middle + half_way - a));
  float wide = sqrt(2.0 * max(log(255.0 * colours.a), 0.0)); // where alpha falls to 1 / 255
  corner = wide * position.xy;
  vec2 offset = corner.x * sqrt(middle + half_way) * along + corner.y * sqrt(max(middle - half_way, 0.0)) * vec2(-along.y, along.x);
  gl_Position = eye.z > -0.2 ? vec4(2.0, 2.0, 2.0, 1.0) : vec4(clip.xy / clip.w + 2.0 * offset / pixels, 0.0, 1.0);
  shade = colours;
}`;
const FRAGMENT = `
precision highp float;
in vec2 corner;
in vec4 shade;
out vec4 result;
void main() {
  float alpha = min(0.99, shade.a * exp(-0.5 * dot(corner, corner)));
  if (alpha < 1.0 / 255.0) discard;
  result = vec4(clamp(shade.rgb, 0.0, 1.0) * alpha, alpha);
}`;

export const isLinear = (buffer) => new Uint8Array(buffer, 8, 1)[0] === "{".charCodeAt(0); // safetensors: a length, then JSON

// {convention, config, metadata, state: {name: {shape, values}}} of a file of ours.
function readLinear(buffer) {
  const length = Number(new DataView(buffer).getBigUint64(0, true));
  const { __metadata__: about = {}, ...tensors } = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  const entry = (name) => JSON.parse(about[name] ?? "null");
  if (entry("convention") !== "linear_avatar") throw new Error("expected a linear avatar, found another file");
  const state = {};
  for (const [name, { dtype, shape, data_offsets: [start, end] }] of Object.entries(tensors)) {
    const found = new ARRAYS[dtype](buffer.slice(8 + length + start, 8 + length + end));
    state[name.replace("state/", "")] = { shape, values: dtype === "I64" ? Array.from(found, Number) : found };
  }
  const [config, metadata] = [entry("config"), entry("metadata") ?? {}];
  if (state.joints.shape[0] !== 24 || config.skinning !== "exact") throw new Error("expected head and shoulders with exact skinning, found another avatar");
  return { state, config, metadata };
}

export class Splats {
  // `lists` are names of expressions' coefficients, ARKit's and those without; `portrait` is the portrait camera.
  constructor(buffer, lists, portrait) {
    const avatar = readLinear(buffer);
    const { state, metadata } = avatar;
    this.count = state.base.shape[0];
    this.names = lists[metadata.face_model === "arkit" ? 0 : 1];
    this.facts = { checkpoint: metadata.source };
    this.animations = [];
    const [rank] = state.limits.shape;
    const width = state["mixing.weight"].values.length / rank;
    const first = state.pose_offset.shape[0];
    const moves = (column) => Array.from({ length: rank }, (_, r) => state["mixing.weight"].values[r * width + first + column]).some((each) => Math.abs(each) > 1e-6);
    const moving = this.names.map((name, column) => [name, column]).filter(([, column]) => moves(column));
    this.columnOf = new Map(moving); // name -> column of the row
    [this.neck, this.head] = [0, 3];
    this.size = metadata.image_size ?? 512; // of the pictures it was learned from
    this.makeFrame = makeFrames(avatar);
    this.makeScene(portrait);
    const code = `const make = ${makeFrames}; let frame; onmessage = ({ data }) => {
      if (data.avatar) return void (frame = make(data.avatar));
      const out = frame(data.row, data.eye, data.forward, data.out);
      postMessage(out, Object.values(out).map((each) => each.buffer)); };`;
    const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
    this.worker = new Worker(url);
    URL.revokeObjectURL(url);
    this.worker.onmessage = ({ data }) => this.take(data);
    this.worker.postMessage({ avatar });
    this.spare = this.arrays(); // for the next frame; null while the worker has them
    this.asked = []; // of the latest frame
    this.wanted = null; // asked for while the worker was busy
  }

  makeScene({ radius, target, degrees }) {
    const geometry = new THREE.InstancedBufferGeometry();
    geometry.setAttribute("position", new THREE.BufferAttribute(new Float32Array([-1, -1, 0, 1, -1, 0, 1, 1, 0, -1, 1, 0]), 3));
    geometry.setIndex([0, 1, 2, 0, 2, 3]);
    geometry.instanceCount = 0;
    this.material = new THREE.RawShaderMaterial({
      vertexShader: VERTEX, fragmentShader: FRAGMENT, glslVersion: "300 es", transparent: true, depthTest: false, depthWrite: false,
      blending: CUSTOM, blendEquation: ADD, blendSrc: ONE, blendDst: ONE_MINUS_ALPHA, uniforms: { pixels: { value: 1 }, blur: { value: 0.3 } },
    });
    this.mesh = new THREE.Mesh(geometry, this.material);
    this.mesh.frustumCulled = false;
    this.mesh.onBeforeRender = (renderer) => {
      const pixels = renderer.domElement.width;
      this.material.uniforms.pixels.value = pixels;
      this.material.uniforms.blur.value = 0.3 * (pixels / this.size) ** 2; // as wide as it was in training
    };
    // The portrait's angle lies between the centres of the outer pixels, three's between their edges.
    const half = Math.tan((degrees * Math.PI) / 360) * (this.size / (this.size - 1));
    this.camera = new THREE.PerspectiveCamera((360 / Math.PI) * Math.atan(half), 1);
    this.camera.position.set(target[0], target[1], target[2] + radius);
    this.camera.userData.target = target;
    this.scene = new THREE.Group();
    this.scene.add(this.mesh, this.camera);
  }

  has(column) {
    return column >= 64 || [...this.columnOf.values()].includes(column);
  }

  // Asks for the frame of these controls, seen by `camera`; `onchange` is called when it is there. `now`: before this returns.
  apply(row, camera, now = false) {
    const asked = { row: [...row], eye: camera.position.toArray(), forward: camera.getWorldDirection(new THREE.Vector3()).toArray() };
    const numbers = Object.values(asked).flat();
    if (now) {
      this.show(this.makeFrame(asked.row, asked.eye, asked.forward, this.arrays()));
    } else if (numbers.some((value, i) => value !== this.asked[i])) {
      this.asked = numbers;
      this.wanted = asked;
      this.ask();
    }
  }

  ask() {
    if (!this.wanted || !this.spare) return;
    const [asked, out] = [this.wanted, this.spare];
    [this.wanted, this.spare] = [null, null];
    this.worker.postMessage({ ...asked, out }, Object.values(out).map((each) => each.buffer));
  }

  arrays() {
    return Object.fromEntries(Object.entries(PARTS).map(([name, size]) => [name, new Float32Array(size * this.count)]));
  }

  take(out) {
    const before = this.shown;
    this.show(out);
    this.spare = before ?? this.arrays();
    this.onchange?.();
    this.ask();
  }

  show(out) {
    const { geometry } = this.mesh;
    this.shown = out;
    for (const [name, array] of Object.entries(out)) {
      const known = geometry.getAttribute(name);
      if (known) Object.assign(known, { array, needsUpdate: true });
      else geometry.setAttribute(name, new THREE.InstancedBufferAttribute(array, PARTS[name]));
    }
    geometry.instanceCount = this.count;
  }

  dispose() {
    this.worker.terminate();
    this.mesh.geometry.dispose();
    this.material.dispose();
  }
}
