"""A glTF file as an engine takes it: accessors, the mesh as blendshapes and skin move it. From glTF 2.0's own text."""

import numpy as np
from scipy.spatial.transform import Rotation

from inference.portable.binary import from_container

TYPES = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
WIDTHS = {"SCALAR": (), "VEC2": (2,), "VEC3": (3,), "VEC4": (4,), "MAT4": (4, 4)}


class Gltf:
    def __init__(self, glb: bytes):
        self.document, self.data = from_container(glb)
        [self.mesh] = self.document["meshes"]
        [self.primitive] = self.mesh["primitives"]

    def view(self, index, start=0):
        view = self.document["bufferViews"][index]
        return self.data[view["byteOffset"] + start : view["byteOffset"] + view["byteLength"]]

    def accessor(self, index):
        """[N, ...] of an accessor; matrices come row by row."""
        found = self.document["accessors"][index]
        shape, dtype = (found["count"], *WIDTHS[found["type"]]), TYPES[found["componentType"]]
        values = np.zeros(shape, dtype)
        if "bufferView" in found:
            values[...] = np.frombuffer(self.view(found["bufferView"]), dtype, values.size).reshape(shape)
        if "sparse" in found:
            parts = found["sparse"]
            rows = np.frombuffer(self.view(parts["indices"]["bufferView"]), TYPES[parts["indices"]["componentType"]])
            kept = np.frombuffer(self.view(parts["values"]["bufferView"]), dtype)
            assert (np.diff(rows.astype(int)) > 0).all() and len(rows) == parts["count"]
            values[rows] = kept.reshape(len(rows), *shape[1:])
        return values.swapaxes(1, 2) if found["type"] == "MAT4" else values

    def attribute(self, name):
        return self.accessor(self.primitive["attributes"][name])

    def node(self, name):
        [found] = [i for i, node in enumerate(self.document["nodes"]) if node["name"] == name]
        return found

    def worlds(self, turns):
        """Transforms [nodes, 4, 4] of all nodes, with rotations (xyzw) by node's name in place of their own."""
        nodes = self.document["nodes"]
        worlds = {}

        def place(index, above):
            node = nodes[index]
            local = np.eye(4)
            local[:3, :3] = Rotation.from_quat(turns.get(node["name"], node.get("rotation", [0, 0, 0, 1]))).as_matrix()
            local[:3, 3] = node.get("translation", [0, 0, 0])
            worlds[index] = above @ local
            for child in node.get("children", []):
                place(child, worlds[index])

        for root in self.document["scenes"][self.document["scene"]]["nodes"]:
            place(root, np.eye(4))
        return np.stack([worlds[i] for i in range(len(nodes))])

    def vertices(self, amounts=None, turns=None):
        """Where the vertices [V, 3] are, given amounts by blendshape and rotations by joint."""
        points = self.attribute("POSITION").astype(np.float64)
        names = self.mesh.get("extras", {}).get("targetNames", [])
        for name, target in zip(names, self.primitive.get("targets", []), strict=True):
            points = points + (amounts or {}).get(name, 0.0) * self.accessor(target["POSITION"])
        [skin] = self.document["skins"]
        matrices = self.worlds(turns or {})[skin["joints"]] @ self.accessor(skin["inverseBindMatrices"])
        joints, weights = self.attribute("JOINTS_0"), self.attribute("WEIGHTS_0")
        moved = np.einsum("vi,vijk->vjk", weights, matrices[joints])  # [V, 4, 4]
        return (moved[:, :3, :3] @ points[..., None])[..., 0] + moved[:, :3, 3]
