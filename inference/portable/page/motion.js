// Motions: those of the avatar's file and recordings, as rows of controls in time (inference/viewer/controls.py).

export const ANGLES = 64; // where the joints' angles begin in a row
const NECK_SHARE = 0.4; // of a head movement; the head joint does the rest

// A loop of `seconds`; `tracks` are functions of a time that write their part of a row.
export class Motion {
  constructor(name, seconds, tracks, camera = null) {
    Object.assign(this, { name, seconds, tracks, camera });
  }

  // Writes the controls at `time` into a row; what does not move in this motion stays.
  write(time, row) {
    for (const track of this.tracks) track(time, row);
  }
}

// A joint's turn, a quaternion [x, y, z, w], as the angles of a row: R = Rz(e0) Ry(e1) Rx(e2).
export function writeTurn(row, joint, quaternion) {
  const { x, y, z } = new THREE.Euler().setFromQuaternion(new THREE.Quaternion().fromArray(quaternion), "ZYX");
  [z, y, x].forEach((angle, axis) => (row[ANGLES + 3 * joint + axis] = angle));
}

// A motion that the page brings along: columns of a row, and pitch and yaw of a camera, frame by frame.
export function fromRows({ name, fps, columns, rows, cameras }, { radius, target }) {
  const seconds = (rows ?? cameras).length / fps;
  const between = (values, time) => {
    const at = (time * fps) % values.length;
    const [last, next] = [Math.floor(at), Math.ceil(at) % values.length];
    return values[last].map((value, i) => value + (at - last) * (values[next][i] - value));
  };
  const write = (time, row) => between(rows, time).forEach((value, i) => (row[columns[i]] = value));
  const camera = cameras && ((time, object) => {
    const [pitch, yaw] = between(cameras, time);
    const way = [Math.sin(pitch) * Math.cos(yaw), Math.cos(pitch), Math.sin(pitch) * Math.sin(yaw)];
    object.position.set(...way.map((part, axis) => target[axis] + radius * part));
    object.lookAt(...target);
  });
  return new Motion(name, seconds, rows ? [write] : [], camera);
}

// An animation of a glTF file, as three.js reads it. `figure` says which controls move what.
export function fromAnimation(clip, figure) {
  const tracks = [];
  const camera = [];
  for (const track of clip.tracks) {
    const at = track.createInterpolant();
    const [node, path] = [track.name.slice(0, track.name.lastIndexOf(".")), track.name.slice(track.name.lastIndexOf(".") + 1)];
    const joint = figure.joints.findIndex((each) => each?.name === node);
    if (path === "morphTargetInfluences") {
      tracks.push((time, row) => {
        const values = at.evaluate(time);
        figure.columns.forEach((column, target) => column >= 0 && (row[column] = values[target]));
      });
    } else if (path === "quaternion" && joint >= 0) {
      tracks.push((time, row) => writeTurn(row, joint, at.evaluate(time)));
    } else if (node === figure.camera?.name) {
      camera.push((time, object) => object[path].fromArray(at.evaluate(time)));
    }
  }
  return new Motion(clip.name, clip.duration, tracks, camera.length ? (time, object) => camera.forEach((track) => track(time, object)) : null);
}

// A recording (recording.js) for a figure: actions by name, the head's turn shared by neck and head.
export function fromRecording(name, { seconds, actions, head }, names, figure) {
  const columns = names.map((title) => figure.columnOf.get(title)).map((column, i) => [column, i]).filter(([column]) => column !== undefined);
  const turns = head?.map(([yaw, pitch, roll]) => new THREE.Quaternion().setFromEuler(new THREE.Euler(-pitch, yaw, roll, "YXZ")));
  const still = new THREE.Quaternion();
  const write = (time, row) => {
    const next = Math.min(Math.max(seconds.findIndex((each) => each > time), 0) || seconds.length - 1, seconds.length - 1);
    const last = Math.max(next - 1, 0);
    const gap = seconds[next] - seconds[last];
    const part = gap > 0 ? Math.min((time - seconds[last]) / gap, 1) : 1;
    for (const [column, i] of columns) row[column] = actions[last][i] + part * (actions[next][i] - actions[last][i]);
    if (!turns) return;
    const turn = new THREE.Quaternion().slerpQuaternions(turns[last], turns[next], part);
    for (const [joint, share] of [[figure.neck, NECK_SHARE], [figure.head, 1 - NECK_SHARE]]) {
      if (joint >= 0) writeTurn(row, joint, new THREE.Quaternion().slerpQuaternions(still, turn, share).toArray());
    }
  };
  return new Motion(name, Math.max(seconds.at(-1), 1 / 60), [write]);
}
