// Keyframes and the frames between them; the server interpolates, so that a video has the same frames.

import { request } from "./connection.js";

export const KINDS = ["expression", "pose", "camera"];
const WIDTH = 84; // controls of a frame

export class Motion {
  constructor() {
    Object.assign(this, { tracks: {}, nInterval: 8, fps: 20, rows: new Float32Array(0), before: null });
  }

  get keyframes() {
    return Object.values(this.tracks)[0]?.length ?? 0;
  }

  get frames() {
    return this.rows.length / WIDTH;
  }

  row(frame) {
    return this.rows.subarray(frame * WIDTH, (frame + 1) * WIDTH);
  }

  has(kind) {
    return kind in this.tracks;
  }

  // Takes another motion, once its frames are there; throws, and changes nothing, where they cannot be.
  async change({ tracks = this.tracks, nInterval = this.nInterval, fps = this.fps }) {
    const n = Math.max(0, ...Object.values(tracks).map((rows) => rows.length));
    const full = {}; // a single keyframe holds still
    for (const [kind, rows] of Object.entries(tracks)) full[kind] = rows.length === 1 ? Array(n).fill(rows[0]) : rows;
    let rows = new Float32Array(0);
    if (n) {
      const response = await request("/motion", JSON.stringify({ tracks: full, n_interval: nInterval }));
      rows = new Float32Array(await response.arrayBuffer());
    }
    this.before = { tracks: this.tracks, nInterval: this.nInterval, fps: this.fps };
    Object.assign(this, { tracks: full, nInterval, fps, rows });
  }

  // The keyframe that plays at a frame, or has played last.
  keyframeAt(frame) {
    return Math.floor(frame / this.nInterval);
  }

  // `keyframe` put in behind number `at` (or first), in place of it, or number `at` taken away.
  added(keyframe, at) {
    return this.edited((kind, rows) => rows.splice(rows.length ? at + 1 : 0, 0, keyframe[kind]));
  }

  replaced(keyframe, at) {
    return this.edited((kind, rows) => rows.splice(at, 1, keyframe[kind]));
  }

  removed(at) {
    return this.keyframes > 1 ? this.edited((kind, rows) => rows.splice(at, 1)) : {};
  }

  edited(edit) {
    const tracks = {};
    for (const kind of this.keyframes ? Object.keys(this.tracks) : KINDS) {
      tracks[kind] = [...(this.tracks[kind] ?? [])];
      edit(kind, tracks[kind]);
    }
    return tracks;
  }

  // Tracks with those of files put in: beside the others where the lengths agree, else instead of them.
  joined(files) {
    const lengths = (tracks) => Object.values(tracks).map((rows) => rows.length).filter((length) => length > 1);
    const kept = Object.fromEntries(Object.entries(this.tracks).filter(([kind]) => !(kind in files)));
    const fits = new Set([...lengths(files), ...lengths(kept)]).size <= 1;
    return fits ? { ...kept, ...files } : files;
  }
}
