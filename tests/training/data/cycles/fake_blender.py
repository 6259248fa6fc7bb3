"""Stands in for blender/render.py: reads the files of a scene with numpy alone and leaves what Blender leaves."""

import json
import sys

import numpy as np
from PIL import Image

for line in sys.stdin:
    path = line.rstrip("\n")
    with open(f"{path}.json", encoding="utf-8") as file:
        scene = json.load(file)
    with np.load(f"{path}.npz", allow_pickle=False) as archive:
        assert "mesh/skin/vertices" in archive.files and "strands/brows/points" in archive.files
    if scene["samples"] == 13:
        print(json.dumps({"error": "RuntimeError: no luck"}), flush=True)
        continue
    if scene["samples"] == 14:
        print("out of cheese", file=sys.stderr, flush=True)
        sys.exit(1)
    for name, camera in scene["cameras"].items():
        size = camera["size"]
        picture = np.full((size, size, 3), 250, np.uint8)
        mask = np.zeros((size, size, 4), np.uint8)
        picture[4:, 3:-3] = scene["seed"] + 100  # somebody
        mask[4:, 3:-3, 3] = 255
        mask[4, 3:-3, 3] = 9
        Image.fromarray(picture).save(f"{path}.{name}.png")
        Image.fromarray(mask).save(f"{path}.{name}.mask.png")
        if scene["maps"]:
            hit = mask[..., 3] == 255
            np.savez(f"{path}.{name}.npz", depth=2.0 * hit, normals=hit[..., None] * np.array([0.0, 0.6, 0.8]))
    print(json.dumps({"ok": path}), flush=True)
