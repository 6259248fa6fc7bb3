// Frames of a linear avatar: its Gaussians in the world, far to near. One function, which a worker runs by itself, too.
// `state` has the arrays of the file (docs/avatars.md) as {shape, values}, `config` its numbers.

export function makeFrames({ state, config }) {
  const values = (name) => state[name].values;
  const [count, width] = state.base.shape;
  const [rank] = state.limits.shape;
  const components = state.pose_offset.shape[0];
  const [positions, weights, joints, parents, moving] = ["positions", "lbs_weights", "joints", "parents", "moving"].map(values);
  const [base, directions, scales] = ["base", "directions", "direction_scales"].map(values);
  const [mixing, bias, limits] = ["mixing.weight", "mixing.bias", "limits"].map(values);
  const features = mixing.length / rank;
  const most = state.most?.values ?? new Float32Array(features).fill(Infinity); // files from before it
  const [first, posed, angles] = [12, 6, 64]; // SMPL's joints that turn, and where their angles begin in a row
  const raw = new Float32Array(base.length);
  const world = new Float32Array(3 * count);
  const depths = new Float32Array(count);
  const centre = [0, 1, 2].map((axis) => {
    let sum = 0;
    for (let i = axis; i < positions.length; i += 3) sum += positions[i];
    return sum / count;
  });

  // [J] of 3 x 4 matrices, row by row: what the turns R = Rz(e0) Ry(e1) Rx(e2) do to all that hangs on a joint.
  function transforms(row) {
    const found = [];
    for (let j = 0; j < parents.length; j++) {
      let r = [1, 0, 0, 0, 1, 0, 0, 0, 1];
      if (j >= first && j < first + posed) {
        const at = angles + 3 * (j - first);
        const [c0, c1, c2] = [0, 1, 2].map((axis) => Math.cos(row[at + axis]));
        const [s0, s1, s2] = [0, 1, 2].map((axis) => Math.sin(row[at + axis]));
        r = [c0 * c1, c0 * s1 * s2 - s0 * c2, c0 * s1 * c2 + s0 * s2, s0 * c1, s0 * s1 * s2 + c0 * c2, s0 * s1 * c2 - c0 * s2, -s1, c1 * s2, c1 * c2];
      }
      const p = joints.subarray(3 * j, 3 * j + 3);
      const own = [0, 1, 2].flatMap((a) => [...r.slice(3 * a, 3 * a + 3), p[a] - (r[3 * a] * p[0] + r[3 * a + 1] * p[1] + r[3 * a + 2] * p[2])]);
      const above = j ? found[parents[j]] : null;
      found.push(above ? [0, 1, 2].flatMap((a) => [0, 1, 2, 3].map((b) =>
        above[4 * a] * own[b] + above[4 * a + 1] * own[4 + b] + above[4 * a + 2] * own[8 + b] + (b === 3 ? above[4 * a + 3] : 0))) : own);
    }
    return moving.map((joint) => found[joint]);
  }

  // raw = base + c @ directions.
  function correct(row, skeleton, eye) {
    const seen = new Float64Array(features);
    const [basis, offset] = [values("pose_basis"), values("pose_offset")];
    const entries = skeleton.flat();
    for (let k = 0; k < components; k++) {
      let sum = offset[k];
      for (let i = 0; i < entries.length; i++) sum += basis[k * entries.length + i] * entries[i];
      seen[k] = Math.min(Math.max(sum, -config.pose_sigma), config.pose_sigma);
    }
    for (let i = components; i < features - 3; i++) seen[i] = Math.min(row[i - components], most[i - components]);
    const towards = centre.map((value, axis) => eye[axis] - value);
    const far = Math.hypot(...towards) || 1;
    towards.forEach((value, axis) => (seen[features - 3 + axis] = value / far));
    raw.set(base);
    const gains = new Float32Array(width);
    for (let r = 0; r < rank; r++) {
      let c = bias[r];
      for (let i = 0; i < features; i++) c += mixing[r * features + i] * seen[i];
      c = Math.min(Math.max(c, -limits[r]), limits[r]);
      for (let a = 0; a < width; a++) gains[a] = c * scales[r * width + a];
      const steps = directions.subarray(r * base.length, (r + 1) * base.length);
      for (let i = 0; i < base.length; i += width) for (let a = 0; a < width; a++) raw[i + a] += gains[a] * steps[i + a];
    }
  }

  // Indices from far to near, by a counting sort over 65,536 depths.
  function farToNear(eye, forward) {
    let [near, far] = [Infinity, -Infinity];
    for (let i = 0; i < count; i++) {
      const depth = (world[3 * i] - eye[0]) * forward[0] + (world[3 * i + 1] - eye[1]) * forward[1] + (world[3 * i + 2] - eye[2]) * forward[2];
      depths[i] = depth;
      near = Math.min(near, depth);
      far = Math.max(far, depth);
    }
    const steps = 65535 / (far - near || 1);
    const starts = new Uint32Array(65537);
    for (let i = 0; i < count; i++) starts[1 + ((far - depths[i]) * steps | 0)]++;
    for (let k = 1; k < starts.length; k++) starts[k] += starts[k - 1];
    const order = new Uint32Array(count);
    for (let i = 0; i < count; i++) order[starts[(far - depths[i]) * steps | 0]++] = i;
    return order;
  }

  const blend = new Float64Array(12 * count); // 3 x 4 matrices of the Gaussians
  const axes = new Float64Array(9);

  // Where the Gaussians are, and what turns them.
  function place(skeleton) {
    const bones = skeleton.length;
    blend.fill(0);
    for (let i = 0, m = 0; i < count; i++, m += 12) {
      for (let j = 0; j < bones; j++) {
        const weight = weights[bones * i + j];
        if (weight) for (let k = 0; k < 12; k++) blend[m + k] += weight * skeleton[j][k];
      }
      const at = width * i + 3;
      const x = positions[3 * i] + config.position_unit * raw[at];
      const y = positions[3 * i + 1] + config.position_unit * raw[at + 1];
      const z = positions[3 * i + 2] + config.position_unit * raw[at + 2];
      for (let a = 0, r = m; a < 3; a++, r += 4) world[3 * i + a] = blend[r] * x + blend[r + 1] * y + blend[r + 2] * z + blend[r + 3];
    }
  }

  // Half axes M R S of Gaussian i.
  function shear(i) {
    const [at, m] = [width * i, 12 * i];
    const length = Math.hypot(raw[at + 10], raw[at + 11], raw[at + 12], raw[at + 13]) || 1;
    const w = raw[at + 10] / length, x = raw[at + 11] / length, y = raw[at + 12] / length, z = raw[at + 13] / length;
    for (let b = 0; b < 3; b++) {
      const size = Math.exp(raw[at + 7 + b]);
      const t0 = b === 0 ? 1 - 2 * (y * y + z * z) : b === 1 ? 2 * (x * y - w * z) : 2 * (x * z + w * y);
      const t1 = b === 0 ? 2 * (x * y + w * z) : b === 1 ? 1 - 2 * (x * x + z * z) : 2 * (y * z - w * x);
      const t2 = b === 0 ? 2 * (x * z - w * y) : b === 1 ? 2 * (y * z + w * x) : 1 - 2 * (x * x + y * y);
      for (let a = 0, r = m; a < 3; a++, r += 4) axes[3 * a + b] = size * (blend[r] * t0 + blend[r + 1] * t1 + blend[r + 2] * t2);
    }
  }

  const square = (a, b) => axes[3 * a] * axes[3 * b] + axes[3 * a + 1] * axes[3 * b + 1] + axes[3 * a + 2] * axes[3 * b + 2];

  // `row` of controls, where the camera is and looks to; `out` has arrays of places, covariances (xx xy xz, yy yz zz), colours.
  return function frame(row, eye, forward, out) {
    const skeleton = transforms(row);
    correct(row, skeleton, eye);
    place(skeleton);
    const order = farToNear(eye, forward);
    for (let k = 0; k < count; k++) {
      const i = order[k];
      shear(i);
      for (let a = 0; a < 3; a++) {
        out.places[3 * k + a] = world[3 * i + a];
        out.shapes[3 * k + a] = square(0, a);
        out.colours[4 * k + a] = raw[width * i + a];
      }
      out.shapes2[3 * k] = square(1, 1);
      out.shapes2[3 * k + 1] = square(1, 2);
      out.shapes2[3 * k + 2] = square(2, 2);
      out.colours[4 * k + 3] = 1 / (1 + Math.exp(-raw[width * i + 6]));
    }
    return out;
  };
}
