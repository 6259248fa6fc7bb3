"""Result files of trackers, made up: key names, shapes and file names of the programs, people that tests choose.

Every writer takes people and a folder and returns what `--smpl` is given, and options that go with it.
"""

import json
import pickle
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from tests.joblib_files import joblib_dump

Written = tuple[Path, dict]


class Tracked(NamedTuple):
    """A person in a photo, as SPIN's camera sees them."""

    photo: str  # 000001, 000002, ... for programs that count frames
    pose: np.ndarray  # [72]
    betas: np.ndarray  # [10]
    camera: np.ndarray  # [3] s, t_x, t_y: centre + side / 2 * s * (X + t)
    centre: np.ndarray  # [2]
    side: float
    person: int = 1
    photo_size: tuple[int, int] = (512, 1024)

    @property
    def matrices(self) -> np.ndarray:
        return Rotation.from_rotvec(self.pose.reshape(24, 3)).as_matrix().astype(np.float32)

    @property
    def scaled_camera(self) -> np.ndarray:
        """The same camera as centre + side / 2 * (s * X + t)."""
        return self.camera * (1, self.camera[0], self.camera[0])

    def in_photo(self) -> np.ndarray:
        """The same as ROMP's camera, which sees the square around the photo."""
        side = max(self.photo_size)
        s = self.camera[0] * self.side / side
        middle = np.array(self.photo_size) / 2 - 0.5
        return np.array([s, *(s * self.camera[1:] + (self.centre - middle) / (side / 2))])


def stacked(people: list[Tracked], name: str) -> np.ndarray:
    return np.stack([getattr(one, name) for one in people]).astype(np.float32)


def spin_training(people, folder) -> Written:
    path, count = folder / "coco_2014_train.npz", len(people)
    np.savez(
        path, imgname=np.array([f"train2014/{p.photo}.jpg" for p in people]), center=stacked(people, "centre"),
        scale=np.array([p.side / 200 for p in people]), pose=stacked(people, "pose"), shape=stacked(people, "betas"),
        has_smpl=np.ones(count), part=np.zeros((count, 24, 3)), openpose=np.zeros((count, 25, 3)),
    )  # fmt: skip
    return path, {}


def spin_evaluation(people, folder) -> Written:
    path = folder / "results.npz"
    np.savez(
        path, pred_joints=np.zeros((len(people), 17, 3)), pose=stacked(people, "pose"), betas=stacked(people, "betas"),
        camera=stacked(people, "camera"),
    )  # fmt: skip
    return path, {"names": spin_training(people, folder)[0]}


def spin_static_fits(people, folder) -> Written:
    path = folder / "coco_fits.npy"
    np.save(path, np.concatenate([stacked(people, "pose"), stacked(people, "betas")], 1))
    names = folder / "names.txt"
    names.write_text("".join(f"{p.photo}.jpg\n" for p in people))
    return path, {"names": names}


def eft_json(people, folder) -> Written:
    path = folder / "COCO2014-Part-ver01.json"
    data = [
        {"parm_pose": p.matrices.tolist(), "parm_shape": p.betas.tolist(), "parm_cam": p.scaled_camera.tolist(),
         "bbox_scale": p.side / 200, "bbox_center": p.centre.tolist(), "annotId": 3, "imageName": f"{p.photo}.jpg",
         "subjectId": "", "joint_validity_openpose18": [1] * 18} for p in people
    ]  # fmt: skip
    path.write_text(json.dumps({"ver": 0.1, "data": data}))
    return path, {}


def eft_fitter(people, folder) -> Written:
    folder = folder / "fits"
    folder.mkdir()
    for i, p in enumerate(people):
        record = {
            "pred_pose_rotmat": p.matrices[None], "pred_shape": p.betas[None], "pred_camera": p.scaled_camera[None],
            "opt_pose": np.zeros((1, 72)), "opt_beta": np.zeros((1, 10)), "sampleIdx": np.array([i]),
            "imageName": [f"/data/{p.photo}.jpg"], "scale": np.array([p.side / 200]), "center": p.centre[None],
            "keypoint2d": np.zeros((1, 49, 3)), "loss": 1.0,
        }  # fmt: skip
        (folder / f"{p.photo}_{i}.pkl").write_bytes(pickle.dumps(record))
    return folder, {}


def bodymocap(people, folder) -> Written:
    folder = folder / "mocap"
    folder.mkdir()
    for photo in sorted({p.photo for p in people}):
        records = [
            {"parm_pose": p.matrices, "parm_shape": p.betas, "parm_cam": p.scaled_camera, "subjectId": f"01_{i:03d}",
             "pred_vertices_imgspace": np.zeros((5, 3)), "bbox_xyxy": [0.0, 0, 50, 80],
             "bbox_topLeft": p.centre - p.side / 2, "bbox_scale_o2n": 224 / p.side, "smpltype": "smpl", "annotId": -1,
             "imageName": f"frames/{photo}.jpg"} for i, p in enumerate(people) if p.photo == photo
        ]  # fmt: skip
        (folder / f"{photo}.pkl").write_bytes(pickle.dumps(records))
    return folder, {}


def frankmocap(people, folder) -> Written:
    folder = folder / "mocap"
    folder.mkdir()
    for photo in sorted({p.photo for p in people}):
        records = [
            {"pred_body_pose": p.pose[None], "pred_betas": p.betas[None], "pred_camera": p.scaled_camera,
             "bbox_top_left": p.centre - p.side / 2, "bbox_scale_ratio": 224 / p.side} for p in people
            if p.photo == photo
        ]  # fmt: skip
        data = {
            "demo_type": "body", "smpl_type": "smpl", "image_path": f"frames/{photo}.jpg", "save_mesh": False,
            "body_bbox_list": [[0, 0, 50, 80]], "hand_bbox_list": [], "pred_output_list": records,
        }  # fmt: skip
        (folder / f"{photo}_prediction_result.pkl").write_bytes(pickle.dumps(data))
    return folder, {}


def tracks(people, matrices: bool = False) -> dict:
    """{person: table} of VIBE, PARE and PyMAF."""
    found = {}
    for person in sorted({p.person for p in people}):
        own = [p for p in people if p.person == person]
        found[person] = {
            "pred_cam": stacked(own, "camera"), "orig_cam": np.zeros((len(own), 4)), "joints2d": None,
            "pose": stacked(own, "matrices" if matrices else "pose"), "betas": stacked(own, "betas"),
            "verts": np.zeros((len(own), 5, 3)),
            "bboxes": np.stack([[*p.centre, p.side, p.side] for p in own]),
            "frame_ids": np.array([int(p.photo) - 1 for p in own]),
        }  # fmt: skip
    return found


def vibe(people, folder) -> Written:
    """Its boxes are a tenth smaller than what it looks at."""
    smaller = [p._replace(side=p.side / 1.1) for p in people]
    return joblib_dump(tracks(smaller), folder / "vibe_output.pkl"), {"box_scale": 1.1}


def pymaf(people, folder) -> Written:
    return joblib_dump(tracks(people), folder / "output.pkl"), {}


def pare_video(people, folder) -> Written:
    return joblib_dump(tracks(people, matrices=True), folder / "pare_output.pkl"), {}


def pare_photos(people, folder) -> Written:
    folder = folder / "pare_results"
    folder.mkdir()
    for photo in sorted({p.photo for p in people}):
        own = [p for p in people if p.photo == photo]
        data = {
            "pred_pose": stacked(own, "matrices"), "pred_shape": stacked(own, "betas"),
            "pred_cam": stacked(own, "camera"), "smpl_vertices": np.zeros((len(own), 5, 3)),
            "bboxes": np.stack([[*p.centre, p.side, p.side] for p in own]), "orig_cam": np.zeros((len(own), 4)),
        }  # fmt: skip
        joblib_dump(data, folder / f"{photo}.pkl")
    return folder, {}


def phalp(people, folder) -> Written:
    frames = {}
    for photo in sorted({p.photo for p in people}):
        own = [p for p in people if p.photo == photo]
        smpl = [{"global_orient": p.matrices[:1], "body_pose": p.matrices[1:], "betas": p.betas} for p in own]
        ghost = {"global_orient": np.eye(3)[None], "body_pose": np.tile(np.eye(3), (23, 1, 1)), "betas": np.zeros(10)}
        frames[f"outputs/_DEMO/video/img/{photo}.jpg"] = {
            "time": int(photo) - 1, "shot": 0, "frame_path": f"outputs/_DEMO/video/img/{photo}.jpg",
            "tid": [*(p.person for p in own), 9], "tracked_ids": [p.person for p in own],
            "tracked_time": [*([0] * len(own)), 3], "bbox": [np.zeros(4)] * (len(own) + 1),
            "center": [*(p.centre for p in own), np.zeros(2)],
            "scale": [*(np.array([p.side / 2, p.side]) for p in own), np.ones(2)], "conf": [np.float32(0.9)],
            "smpl": [*smpl, ghost], "camera": [np.zeros(3)] * (len(own) + 1), "size": [[1024, 512]],
            "camera_bbox": [*(p.camera.astype(np.float32) for p in own), np.ones(3)],
            "mask": [[{"size": [1024, 512], "counts": b"rle"}]], "3d_joints": [np.zeros((45, 3))], "annotations": [[]],
        }  # fmt: skip
    return joblib_dump(frames, folder / "demo_video.pkl", compress=True), {}


def romp_results(own: list[Tracked], tracked: bool) -> dict:
    results = {
        "cam": np.stack([p.in_photo() for p in own]), "global_orient": stacked(own, "pose")[:, :3],
        "body_pose": stacked(own, "pose")[:, 3:], "smpl_betas": stacked(own, "betas"),
        "smpl_thetas": stacked(own, "pose"), "center_confs": np.ones((len(own), 1)),
        "cam_trans": np.zeros((len(own), 3)), "verts": np.zeros((len(own), 5, 3)),
    }  # fmt: skip
    return results | ({"track_ids": np.array([p.person for p in own], np.int32)} if tracked else {})


def romp_photos(people, folder) -> Written:
    folder = folder / "romp"
    folder.mkdir()
    for photo in sorted({p.photo for p in people}):
        np.savez(folder / f"{photo}.npz", results=romp_results([p for p in people if p.photo == photo], False))
    return folder, {}


def romp_video(people, folder) -> Written:
    path = folder / "video_results.npz"
    photos = sorted({p.photo for p in people})
    results = {f"{photo}.png": romp_results([p for p in people if p.photo == photo], True) for photo in photos}
    np.savez(path, results=results, sequence_results={1: {"frame_id": [0]}})
    return path, {}


def smplifyx(people, folder) -> Written:
    """SMPL-X: hands, jaw and expression besides, a camera and a shape of its own."""
    folder = folder / "results"
    seen: dict[str, int] = {}
    for p in people:
        seen[p.photo] = seen.get(p.photo, -1) + 1
        place = folder / p.photo / f"{seen[p.photo]:03d}.pkl"
        place.parent.mkdir(parents=True, exist_ok=True)
        record = {
            "camera_rotation": np.eye(3)[None], "camera_translation": np.array([[0.1, 0.2, 15.0]]),
            "betas": np.full((1, 10), 7.0), "global_orient": p.pose[None, :3], "body_pose": p.pose[None, 3:66],
            "left_hand_pose": np.zeros((1, 12)), "right_hand_pose": np.zeros((1, 12)), "jaw_pose": np.zeros((1, 3)),
            "leye_pose": np.zeros((1, 3)), "reye_pose": np.zeros((1, 3)), "expression": np.zeros((1, 10)),
        }  # fmt: skip
        place.write_bytes(pickle.dumps(record, protocol=2))
    return folder, {}


PROGRAMS = {
    write.__name__: write
    for write in (
        spin_training, spin_evaluation, spin_static_fits, eft_json, eft_fitter, bodymocap, frankmocap, vibe, pymaf,
        pare_video, pare_photos, phalp, romp_photos, romp_video, smplifyx,
    )
}  # fmt: skip
COUNTED = ("vibe", "pymaf", "pare_video")  # say which frame, not which file
WITHOUT_CAMERA = ("spin_training", "spin_static_fits", "smplifyx")
