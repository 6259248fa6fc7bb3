"""How well a person is found again in one picture: drawn people whom no model has seen, inverted and compared.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.bm_invert
    OMP_NUM_THREADS=1 python -m tests.benchmarks.bm_invert --people 8 --ckpt ckpts/demo.safetensors

Of every person two portraits are drawn: one is inverted as a photo would be, tracker and all, the other one, in another
pose, expression and camera, is what the person should look like then. Identity: cosine between what the project's face
net finds in face crops of the person and of the drawing. Landmarks: the 68 of the tracked face against the true ones,
in the head's frame; and as the face net finds them in the crops. PSNR: of whole portraits on white.
"""

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from inference.inversion.likeness import FACE_RECON_FILE, KINDS, load_distance
from inference.invert import METHODS
from inference.pipeline import DEMO, PortraitPipeline, pipeline_of
from networks.person.body_model import HEAD
from networks.person.face_recon import FaceReconstructor, load_face_recon
from networks.person.fitting.photo import TrackedPhoto, track_photo
from networks.person.tracking import MILLIMETRES
from tests.benchmarks.records import add_record, record
from torch_utils.bounds import MAX_SEED, whole_number
from torch_utils.misc import CliParser, run_cli
from torch_utils.pixels import image_to_uint8
from training.data.synthetic.drawing import draw
from training.data.synthetic.portrait import Sitting, sit
from training.rendering import face_crop

CROP = 128  # pixels a side


def main() -> None:
    """Command line; see the module's docstring."""
    parser = CliParser(prog="python -m tests.benchmarks.bm_invert")
    parser.add_argument("--people", type=whole_number(1, 1000), default=2, help="to draw (%(default)s)")
    parser.add_argument("--seed", type=whole_number(0, MAX_SEED), default=4242, help="of the people (%(default)s)")
    parser.add_argument("--size", type=whole_number(64, 1024), default=512, help="pixels a side (%(default)s)")
    parser.add_argument("--ckpt", default=str(DEMO), help="the model (%(default)s)")
    parser.add_argument("--perceptual", choices=KINDS, help="as of inference.invert")
    parser.add_argument("--sheet", type=Path, help="also a picture of everybody, .png")
    add_record(parser)
    args = parser.parse_args()
    pipe, net = PortraitPipeline.from_checkpoint(args.ckpt), load_face_recon(FACE_RECON_FILE)
    name, distance = load_distance(args.perceptual, pipe.device)
    print(f"pictures are compared by: {name}", flush=True)
    rows, pictures = [], []
    for number in range(args.people):
        first, second = (sit(args.seed, 2 * number + shot, shots=2) for shot in range(2))
        start = time.process_time()
        tracked = track_photo(Image.fromarray(image_to_uint8(drawn(first, args.size))))
        *_, last = METHODS[pipe.generator.convention](pipe, tracked, distance).stages()
        seconds = time.process_time() - start
        person, size = pipeline_of(last.model).person(), pipe.image_size
        found = {"z_id": tracked.z_id, "z_exp": tracked.expression}
        seen = person.render(tracked.expression, tracked.joint_eulers, tracked.camera.tolist()).image
        again = person.render(*posed(second)).image
        rows.append(
            figures("as in the photo", pipe, net, seen, tracked.picture(size)[0], tracked)
            | figures("elsewhere", pipe, net, again, drawn(second, size), labels_of(second))
            | {"landmarks, mm, tracked": landmarks_of(net, found, first), "s of processor time": seconds}
        )
        pictures.append(torch.cat([tracked.picture(size)[0], seen, again, drawn(second, size)], 2))
        print(f"person {number}: " + ", ".join(f"{key} {value:.2f}" for key, value in rows[-1].items()), flush=True)
    means = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
    for key, value in means.items():
        print(f"{key:40s} {value:8.2f}")
    if args.sheet:
        Image.fromarray(image_to_uint8(torch.cat(pictures, 1))).save(args.sheet)
    if args.record:
        record("bm_invert", means)


def drawn(sitting: Sitting, size: int) -> Tensor:
    """The portrait of a sitting [3, H, H] in -1..1."""
    return torch.from_numpy(draw(sitting.posed, sitting.camera, size).image)


class Held(NamedTuple):
    betas: Tensor  # [10]
    joint_eulers: Tensor  # [6, 3]
    camera: Tensor  # [2]


def labels_of(sitting: Sitting) -> Held:
    arrays = (sitting.labels["betas"], sitting.labels["joint_eulers"], sitting.camera)
    return Held(*(torch.from_numpy(array).float() for array in arrays))


def posed(sitting: Sitting) -> tuple[Tensor, Tensor, list[float]]:
    """Expression, pose and camera, as people are rendered."""
    labels = sitting.labels
    return (
        torch.from_numpy(labels["z_exp"]).float(),
        torch.from_numpy(labels["joint_eulers"]).float(),
        sitting.camera.tolist(),
    )


def figures(
    where: str,
    pipe: PortraitPipeline,
    net: FaceReconstructor,
    image: Tensor,
    truth: Tensor,
    held: TrackedPhoto | Held,
) -> dict[str, float]:
    """A portrait against the drawing in the same frame, by name; ``held`` says where in it the face is."""
    frame = pipe.generator.body.joint_transforms(held.betas[None], held.joint_eulers[None])[:, HEAD]
    crops = [face_crop(picture[None].float(), frame, held.camera[None], CROP) for picture in (image, truth)]
    one, other = (net.coefficients(crop) for crop in crops)
    marks = [net.landmark_face(found.z_id, found.z_exp) for found in (one, other)]
    error = (image - truth).square().mean().item() / 4
    return {
        f"PSNR, dB, {where}": -10 * float(np.log10(error)),
        f"identity, {where}": F.cosine_similarity(one.z_id, other.z_id).item(),
        f"landmarks, mm, by the net, {where}": MILLIMETRES * (marks[0] - marks[1]).norm(dim=-1).mean().item(),
    }


def landmarks_of(net: FaceReconstructor, found: dict[str, Tensor], sitting: Sitting) -> float:
    """How far the tracked face's landmarks are from the true ones, mm."""
    true = {name: torch.from_numpy(sitting.labels[name]).float() for name in ("z_id", "z_exp")}
    places = [net.landmark_face(face["z_id"][None], face["z_exp"][None]) for face in (found, true)]
    return MILLIMETRES * (places[0] - places[1]).norm(dim=-1).mean().item()


if __name__ == "__main__":
    run_cli(main)
