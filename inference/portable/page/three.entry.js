// What the page uses of three.js. three.min.js is made of it, with another version or other names, by npm:
//
//   npm install --no-save three@0.187.0 esbuild@0.28.2
//   npx esbuild three.entry.js --bundle --minify --format=iife --global-name=THREE \
//       --banner:js="/* three.js 0.187.0, MIT licence, see three.LICENSE */" --outfile=three.min.js

export {
  BufferAttribute, Color, Euler, Group, InstancedBufferAttribute, InstancedBufferGeometry, Mesh, PerspectiveCamera, Quaternion,
  RawShaderMaterial, Scene, Vector3, WebGLRenderer,
} from "three";
export { OrbitControls } from "three/addons/controls/OrbitControls.js";
export { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
