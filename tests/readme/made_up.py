"""Files that come from elsewhere: tracked photos, a checkpoint in the released layout, a tiny model of our own."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from networks.person.priors import LABEL_FILES, LabelPriors
from networks.saved_model import SavedModel, pack_model
from tests.inference.recordings import make_rows, write
from tests.inference.released_files import write_released_file
from tests.inference.snapshots import write_snapshot
from tests.networks.helpers import make_generator, make_priors_dict
from tests.networks.person.fitting.drawn_photos import draw_photo, write_folder, write_video
from tests.readme.documents import ROOT
from tests.training.data.prepare.photos import make_photo, write_photos
from tests.training.data.sets import make_pixels
from tests.training.data.test_eg3d import make_archives, make_labels
from torch_utils.checkpoint import load_checkpoint, save_checkpoint

if TYPE_CHECKING:
    from tests.readme.place import Place

PHOTOS = {"000": 2, "001": 3, "002": 1}  # name: seed


def lay_out(root: Path) -> None:
    """Folders that commands write to, as copies, the shipped model a tiny one."""
    shutil.copytree(ROOT / "keyframes", root / "keyframes", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "ckpts").mkdir()
    (root / "ckpts/face_recon_synth.safetensors").symlink_to(ROOT / "ckpts/face_recon_synth.safetensors")
    save_model(root / "ckpts/demo.safetensors")


def save_model(path: Path, **facts: str) -> None:
    priors = LabelPriors.from_dict(make_priors_dict(), "made up")
    metadata = {"what": "made up", "runs": [{"made_by": ["made up"]}], **facts}
    save_checkpoint(path, pack_model(SavedModel(make_generator(), priors, metadata)))


def named(place: Place) -> None:
    """ckpts/named.safetensors: a tiny model whose expressions are ARKit's actions."""
    save_model(place.root / "ckpts/named.safetensors", face_model="arkit")


def photos(place: Place) -> None:
    """SHHQ/images, SHHQ/masks, deep3d and fits.npz: drawn people, whose names could be those of a video's frames."""
    root = place.root
    write_photos(root / "SHHQ", {name: make_photo(seed) for name, seed in PHOTOS.items()})
    (root / "SHHQ/face").rename(root / "deep3d")
    (root / "SHHQ/fits.npz").rename(root / "fits.npz")


def released(place: Place) -> None:
    """sshq512.pt, its sizes in tiny.yaml, and in released/ the label arrays and an index of vertices."""
    write_released_file(place.root)
    (place.root / "released.pt").rename(place.root / "sshq512.pt")
    (place.root / "released").mkdir()
    for name, rows in make_priors_dict().items():
        np.save(place.root / "released" / LABEL_FILES[name], rows.numpy())
    np.save(place.root / "released/index.npy", np.arange(70, 100))


def old(place: Place) -> None:
    """old.pt: a model as earlier versions of this project wrote it."""
    torch.save({**load_checkpoint(place.root / "ckpts/demo.safetensors"), "version": 1}, place.root / "old.pt")


def published(place: Place) -> None:
    """published/: portraits, face crops and the authors' label arrays."""
    root, rows = place.root / "published", make_priors_dict()
    for folder, size in (("images", 16), ("faces", 8)):
        (root / folder).mkdir(parents=True)
        for index in range(len(rows["camera_pose"])):
            Image.fromarray(make_pixels(index, size)).save(root / folder / f"{index:03d}.png")
    (root / "labels").mkdir()
    for name, file in LABEL_FILES.items():
        array = 0.2 * rows[name].numpy()
        array[:, :2] += np.pi / 2 * (name == "camera_pose")
        np.save(root / "labels" / file, array)


def photos_in_a_zip(place: Place) -> None:
    """datasets/shhq_hs.zip, with the pictures of the synthetic set."""
    source = place.need("datasets/synth512")
    with zipfile.ZipFile(place.root / "datasets/shhq_hs.zip", "w", zipfile.ZIP_STORED) as file:
        for path in sorted(source.rglob("*")):
            if path.is_file():
                file.write(path, path.relative_to(source))


def recording(place: Place) -> None:
    """take.csv: a face recorded by ARKit."""
    write(place.root / "take.csv", make_rows())


def own_pictures(place: Place) -> None:
    """me.mp4, photo.png, my_photos and my_videos: of drawn people."""
    write_video(place.root / "me.mp4")
    Image.fromarray(draw_photo(0).image).save(place.root / "photo.png")
    write_folder(place.root / "my_photos")
    (place.root / "my_videos").mkdir()
    write_video(place.root / "my_videos/me.mp4")


def phq(place: Place) -> None:
    """phq512.zip and phq512_masks.zip: three pictures of 360PHQ's kind."""
    make_archives(place.root, make_labels())
    (place.root / "images.zip").rename(place.root / "phq512.zip")
    (place.root / "masks.zip").rename(place.root / "phq512_masks.zip")


def snapshot(place: Place) -> None:
    """portrait360.pkl: a snapshot of 3DPortraitGAN."""
    write_snapshot(place.root / "portrait360.pkl")


def model_of_photos(place: Place) -> None:
    """runs/shhq2/latest."""
    (place.root / "runs/shhq2").mkdir(parents=True)
    shutil.copy(place.need("runs/s1/latest"), place.root / "runs/shhq2/latest")


def motion(place: Place) -> None:
    """walk.npz: two frames of a body, in AMASS's arrays."""
    np.savez(place.root / "walk.npz", poses=np.zeros((8, 156)), trans=np.zeros((8, 3)))


MADE_UP: dict[str, Callable[[Place], None]] = {
    "published": published, "ckpts/named.safetensors": named,
    "old.pt": old, "SHHQ": photos, "deep3d": photos, "fits.npz": photos, "sshq512.pt": released, "released": released,
    "datasets/shhq_hs.zip": photos_in_a_zip, "runs/shhq2": model_of_photos, "take.csv": recording, "walk.npz": motion,
    "me.mp4": own_pictures, "photo.png": own_pictures, "portrait360.pkl": snapshot,
    "phq512.zip": phq, "phq512_masks.zip": phq,
    "my_photos": own_pictures, "my_videos": own_pictures,
}  # fmt: skip
