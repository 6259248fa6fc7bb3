// Where a figure is seen: canvas, light-less scene, the portrait camera that turns round it within what was learned.

const YAW = 0.7; // radians to either side: what lies beyond, no picture has shown
const PITCH = 0.4;
const CLOSEST = 0.35; // of the portrait's distance
const MAX_PIXELS = 2; // a CSS pixel, each way: more is not seen, and phones would pay for it

export class Stage {
  constructor(canvas) {
    this.canvas = canvas;
    this.renderer = new THREE.WebGLRenderer({ canvas, antialias: false, preserveDrawingBuffer: true });
    this.scene = new THREE.Scene();
    this.camera = new THREE.PerspectiveCamera(12, 1, 0.1, 10);
    this.orbit = new THREE.OrbitControls(this.camera, canvas);
    Object.assign(this.orbit, { enablePan: false, enableDamping: true, dampingFactor: 0.15, rotateSpeed: 0.5 });
    this.orbit.addEventListener("change", () => (this.changed = true));
    this.changed = true;
    this.setBackground("#ffffff");
    new ResizeObserver(() => this.resize()).observe(canvas);
    this.resize();
  }

  resize() {
    const side = Math.max(Math.round(this.canvas.clientWidth * Math.min(devicePixelRatio, MAX_PIXELS)), 1);
    if (side !== this.canvas.width) this.renderer.setSize(side, side, false);
    this.changed = true;
  }

  setBackground(colour) {
    this.scene.background = new THREE.Color(colour);
    this.changed = true;
  }

  show(figure) {
    this.figure?.dispose();
    if (this.figure) this.scene.remove(this.figure.scene);
    this.figure = figure;
    this.scene.add(figure.scene);
    figure.onchange = () => (this.changed = true);
    figure.scene.updateMatrixWorld(true);
    this.frame();
  }

  // The view as the file's camera has it; without one, so that all is seen.
  frame() {
    const { camera, mesh } = this.figure;
    let target = new THREE.Vector3();
    if (camera) {
      camera.getWorldPosition(this.camera.position);
      this.camera.fov = camera.fov;
      target.fromArray(camera.userData.target ?? [0, 0, 0]);
    } else {
      mesh.geometry.computeBoundingSphere();
      const { center, radius } = mesh.geometry.boundingSphere;
      target = center.clone().applyMatrix4(mesh.matrixWorld);
      this.camera.position.copy(target).add(new THREE.Vector3(0, 0, radius / Math.sin(0.105)));
    }
    this.camera.updateProjectionMatrix();
    const distance = this.camera.position.distanceTo(target);
    Object.assign(this.camera, { near: distance / 10, far: distance * 4 });
    Object.assign(this.orbit, {
      minAzimuthAngle: -YAW, maxAzimuthAngle: YAW, minPolarAngle: Math.PI / 2 - PITCH, maxPolarAngle: Math.PI / 2 + PITCH,
      minDistance: CLOSEST * distance, maxDistance: distance,
    });
    this.orbit.target.copy(target);
    this.orbit.update();
    this.changed = true;
  }

  draw() {
    this.renderer.render(this.scene, this.camera);
    this.changed = false;
  }

  // The picture as it is seen, `side` pixels wide: a data URL.
  picture(side) {
    const before = this.canvas.width;
    this.renderer.setSize(side, side, false);
    this.draw();
    const url = this.canvas.toDataURL();
    this.renderer.setSize(before, before, false);
    this.draw();
    return url;
  }
}
