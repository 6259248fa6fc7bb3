// An avatar from a .glb file, moved by a row of controls: 64 expression coefficients, 6 x 3 joint angles (radians).
import { ANGLES } from "./motion.js";

// The joints of the row's angles, in its order.
const JOINTS = ["neck", "left_collar", "right_collar", "head", "left_shoulder", "right_shoulder"];

export class Figure {
  // `gltf` is what GLTFLoader gives; `names` are the coefficients' names, those of actions first.
  constructor(gltf, names) {
    const find = (test) => {
      let found;
      gltf.scene.traverse((each) => (found ??= test(each) ? each : undefined));
      return found;
    };
    this.scene = gltf.scene;
    this.mesh = find((each) => each.isMesh && each.morphTargetDictionary) ?? find((each) => each.isMesh);
    if (!this.mesh) throw new Error("expected a mesh in the file, found none");
    this.camera = gltf.cameras[0] ?? null;
    this.joints = JOINTS.map((name) => find((each) => each.isBone && each.name === name));
    [this.neck, this.head] = [0, 3].map((joint) => (this.joints[joint] ? joint : -1));
    this.mesh.frustumCulled = false; // its bounds would be asked of every vertex
    const targets = Object.keys(this.mesh.morphTargetDictionary ?? {});
    const known = targets.map((name) => [name, names.indexOf(name)]).filter(([, column]) => column >= 0);
    this.columnOf = new Map(known); // target -> column of the row
    this.columns = targets.map((name) => this.columnOf.get(name) ?? -1);
    // Targets that follow from the others: quadratic forms in 1 and their amounts, from -1 to 1.
    const { of = [], forms = [] } = this.mesh.userData.correctives ?? {};
    this.corrects = of.map((name) => names.indexOf(name));
    this.forms = targets.filter((name) => name.startsWith("corrective_")).map((name, i) => [targets.indexOf(name), forms[i] ?? []]);
    [this.names, this.animations] = [names, gltf.animations];
    this.facts = gltf.asset?.extras ?? {};
    this.euler = new THREE.Euler();
  }

  has(column) {
    return column >= ANGLES ? Boolean(this.joints[Math.floor((column - ANGLES) / 3)]) : this.columns.includes(column);
  }

  // Takes the controls: R = Rz(e0) Ry(e1) Rx(e2) of every joint.
  apply(row) {
    this.columns.forEach((column, target) => (this.mesh.morphTargetInfluences[target] = row[column] ?? 0));
    const amounts = [1, ...this.corrects.map((column) => row[column] ?? 0)];
    for (const [target, form] of this.forms) {
      let sum = 0;
      form.forEach((line, i) => amounts[i] && line.forEach((value, j) => (sum += amounts[i] * value * amounts[j])));
      this.mesh.morphTargetInfluences[target] = Math.min(Math.max(sum, -1), 1);
    }
    this.joints.forEach((joint, i) => {
      const [roll, yaw, pitch] = [0, 1, 2].map((axis) => row[ANGLES + 3 * i + axis]);
      joint?.quaternion.setFromEuler(this.euler.set(pitch, yaw, roll, "ZYX"));
    });
  }

  // Frees what the graphics card holds of it.
  dispose() {
    this.mesh.geometry.dispose();
    this.mesh.material.map?.dispose();
    this.mesh.material.dispose();
    this.mesh.skeleton?.dispose();
  }
}
