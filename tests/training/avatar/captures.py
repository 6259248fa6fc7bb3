"""Small captures of a made-up body, in every layout."""

import json

import numpy as np
import roma
import torch
from PIL import Image

from training.avatar.layouts import LAYOUTS

WIDTH, HEIGHT, FRAMES = 20, 24, 3
NAMES = {"avatarrex": ("22010710", "22010716"), "thuman4": ("cam00", "cam01"), "actorshq": ("Cam001", "Cam002")}


def save_body(path) -> None:
    """A file of SMPL-X's arrays: a quad a joint, joints along a line upwards."""
    heights = np.linspace(-0.9, 0.7, 55)
    corners = np.array([[-0.1, -0.1, 0], [0.1, -0.1, 0], [0.1, 0.1, 0], [-0.1, 0.1, 0.05]])
    vertices = (corners[None] + np.stack([0 * heights, heights, 0 * heights], 1)[:, None]).reshape(-1, 3)
    owner = np.repeat(np.arange(55), 4)
    faces = np.arange(55)[:, None, None] * 4 + np.array([[0, 1, 2], [0, 2, 3]])
    shapedirs = np.zeros((220, 3, 400))
    shapedirs[:, 2, 300] = 0.01  # the first expression comes forward
    parents = np.array([2**32 - 1, *([0] * 54)], np.uint32)
    kintree = np.stack([parents, np.arange(55, dtype=np.uint32)])
    arrays = {"v_template": vertices, "shapedirs": shapedirs, "J_regressor": np.eye(55)[owner].T / 4}
    arrays |= {"weights": np.eye(55)[owner], "kintree_table": kintree, "f": faces.reshape(-1, 3).astype(np.uint32)}
    np.savez(path, **arrays)


def registration(frames: int = FRAMES) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    widths = {"global_orient": 3, "transl": 3, "body_pose": 63, "jaw_pose": 3, "expression": 10}
    widths |= {"left_hand_pose": 45, "right_hand_pose": 45}
    return {"betas": np.zeros((1, 10))} | {n: 0.1 * random.standard_normal((frames, w)) for n, w in widths.items()}


def make_set(root, layout: str):
    """Two cameras 3 m before and beside the body, three frames, a picture a colour, a person in the middle."""
    root.mkdir()
    save_body(root / "smplx.npz")
    np.savez(root / "smpl_params.npz", **registration())
    names = NAMES[layout]
    flip = np.diag([1.0, -1, -1])
    turns = [flip, flip @ roma.rotvec_to_rotmat(torch.tensor([0, 0.5, 0])).numpy()]
    if layout == "actorshq":
        lines = ["name,w,h,rx,ry,rz,tx,ty,tz,fx,fy,px,py"]
        for name, turn in zip(names, turns, strict=True):
            vector = roma.rotmat_to_rotvec(torch.from_numpy(turn.T.copy()).double()).tolist()
            centre = (-turn.T @ [0, 0, 3]).tolist()
            numbers = [WIDTH, HEIGHT, *vector, *centre, 1.2, 1.0, 0.5, 0.5]
            lines.append(",".join([name, *map(repr, numbers)]))
        (root / "4x").mkdir()
        (root / "4x/calibration.csv").write_text("\n".join(lines))
    else:
        entry = {"K": [24, 0, 10, 0, 24, 12, 0, 0, 1], "T": [0, 0, 3], "imgSize": [WIDTH, HEIGHT], "distCoeff": [0]}
        data = {name: {**entry, "R": turn.ravel().tolist()} for name, turn in zip(names, turns, strict=True)}
        (root / LAYOUTS[layout].calibration).write_text(json.dumps(data))
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[6:20, 5:15] = 255
    for camera, name in enumerate(names):
        for frame in range(FRAMES):
            for path, picture in (
                (
                    LAYOUTS[layout].picture(root, name, frame),
                    np.full((HEIGHT, WIDTH, 3), (40 * frame, 100 * camera, 200)),
                ),
                (LAYOUTS[layout].mask(root, name, frame), mask),
            ):
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture.astype(np.uint8)).save(path, quality=100)
    return root
