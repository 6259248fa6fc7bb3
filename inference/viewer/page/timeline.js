// Playback in real time: frames that come too late are left out, as in any player.

import { fill } from "./sliders.js";

const $ = (id) => document.getElementById(id);

export class Timeline {
  // `onFrame(frame)` is called when another frame is to be seen, `onPlay()` when playback begins.
  constructor(motion, onFrame) {
    Object.assign(this, { motion, onFrame, frame: 0, playing: false, start: 0, onPlay() {} });
    $("play").onclick = () => this.toggle();
    $("back").onclick = () => this.step(-1);
    $("forward").onclick = () => this.step(1);
    $("scrub").oninput = () => {
      this.pause();
      this.seek(Number($("scrub").value));
    };
    this.renew(0);
  }

  // The motion is another one, seen from `frame` on.
  renew(frame) {
    const { frames, keyframes, nInterval } = this.motion;
    for (const id of ["scrub", "play", "back", "forward"]) $(id).disabled = frames === 0;
    $("scrub").max = Math.max(frames - 1, 0);
    $("ticks").setAttribute("viewBox", `0 0 ${Math.max(frames - 1, 1)} 1`);
    const shown = keyframes <= 200 ? keyframes : 0; // more would be a grey bar
    $("ticks").replaceChildren(
      ...Array.from({ length: shown }, (_, k) => {
        const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
        for (const [name, value] of Object.entries({ x1: k * nInterval, x2: k * nInterval, y1: 0, y2: 1 })) {
          line.setAttribute(name, value);
        }
        return line;
      }),
    );
    if (!frames) this.pause();
    this.seek(Math.min(frame, Math.max(frames - 1, 0)));
  }

  seek(frame) {
    this.frame = frame;
    this.start = performance.now() - (1000 * frame) / this.motion.fps;
    this.show();
  }

  show() {
    const { frames, fps } = this.motion;
    $("scrub").value = this.frame;
    fill($("scrub"), 0, frames ? this.frame : 0);
    $("clock").textContent = frames ? `${this.frame + 1} / ${frames} · ${(this.frame / fps).toFixed(1)} s` : "no motion";
    if (frames) this.onFrame(this.frame);
  }

  play() {
    if (this.playing || !this.motion.frames) return;
    this.playing = true;
    this.onPlay();
    this.mark();
    this.seek(this.frame);
    requestAnimationFrame(() => this.tick());
  }

  tick() {
    if (!this.playing) return;
    const { frames, fps } = this.motion;
    const frame = Math.floor(((performance.now() - this.start) * fps) / 1000) % frames;
    if (frame !== this.frame) {
      this.frame = frame;
      this.show();
    }
    requestAnimationFrame(() => this.tick());
  }

  pause() {
    this.playing = false;
    this.mark();
  }

  mark() {
    document.body.classList.toggle("playing", this.playing);
    $("play").setAttribute("aria-label", this.playing ? "Pause" : "Play");
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  step(frames) {
    this.pause();
    if (this.motion.frames) this.seek((this.frame + frames + this.motion.frames) % this.motion.frames);
  }

  stepKeyframe(keyframes) {
    this.pause();
    const { keyframes: count, nInterval } = this.motion;
    if (!count) return;
    const between = this.frame % nInterval !== 0 && keyframes < 0; // back to the one that plays
    const next = this.motion.keyframeAt(this.frame) + keyframes + (between ? 1 : 0);
    this.seek(((next + count) % count) * nInterval);
  }
}
