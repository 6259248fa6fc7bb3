"""How well a person is found again in one picture: drawn people whom no model has seen, inverted and compared.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.bm_invert
    OMP_NUM_THREADS=1 python -m tests.benchmarks.bm_invert --people 8 --known --sheet people.png
    OMP_NUM_THREADS=1 python -m tests.benchmarks.bm_invert --ckpt ckpts/portrait360.safetensors

Of every person two portraits are drawn: one is inverted as a photo would be, tracker and all, the other one, in another
pose, expression and camera, is what the person should look like then. Identity: cosine between what the project's face
net finds in face crops of the person and of the drawing. Landmarks: 68 of the face as the net finds them in the crops,
in the head's frame; shape: after the similarity that brings them nearest (Umeyama 1991), for how large a face is no
photo says. PSNR: of whole portraits on white. Models without expressions look neutral: their landmarks are taken with
the expression that is found in the drawing.

The net errs on drawings, too, and a model draws nobody as they are. So the same figures are taken of the same person's
two drawings (who they are by the first, what they do by the second), which are all the net can tell; of the model's own
person of the true latents, where nothing had to be found; and, by --known, of an inversion that is told shape, pose,
expression and camera.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from inference.inversion.likeness import KINDS, Distance, load_distance
from inference.inversion.manifolds import ManifoldInversion
from inference.inversion.trigrid import TriGridInversion
from inference.invert import METHODS
from inference.pipeline import DEMO, PortraitPipeline, pipeline_of
from inference.trigrid import TriGridPipeline
from networks.person.body_model import HEAD
from networks.person.face_model import similarity
from networks.person.face_recon import FACE_RECON_FILE, FaceCoefficients, FaceReconstructor, load_face_recon
from networks.person.fitting.photo import TrackedPhoto, track_photo
from networks.person.framing import Placement, face_crop
from networks.person.tracking import MILLIMETRES
from tests.benchmarks.records import add_record, record
from torch_utils.bounds import MAX_SEED, whole_number
from torch_utils.misc import CliParser, run_cli
from torch_utils.pixels import image_to_uint8
from training.data.synthetic.drawing import draw
from training.data.synthetic.portrait import Sitting, sit

CROP = 128  # pixels a side


class Figures(NamedTuple):
    """A portrait against a drawing, or one drawing against another."""

    psnr: float  # dB
    identity: float  # cosine
    landmarks: float  # mm
    shape: float  # mm, likewise, whatever the size


class Held(NamedTuple):
    """What places the face in a portrait."""

    betas: Tensor  # [10]
    joint_eulers: Tensor  # [6, 3]
    camera: Tensor  # [2]


class Ruler:
    """The face net, which looks at portraits in a model's frame."""

    def __init__(self, pipe: PortraitPipeline) -> None:
        self.body, self.net = pipe.generator.body, load_face_recon(FACE_RECON_FILE)
        self.expressive = pipe.controls.expression

    def found(self, image: Tensor, held: TrackedPhoto | Held) -> FaceCoefficients:
        """What is found in a portrait [3, H, W]; ``held`` says where in it the face is."""
        frame = self.body.joint_transforms(held.betas[None], held.joint_eulers[None])[:, HEAD]
        return self.net.coefficients(face_crop(image[None].float(), frame, held.camera[None], CROP))

    def compare(self, image: Tensor, truth: Tensor, held: TrackedPhoto | Held) -> Figures:
        """A portrait against the drawing of the same moment."""
        one, other = self.found(image, held), self.found(truth, held)
        error = (image - truth).square().mean().item() / 4
        identity = F.cosine_similarity(one.z_id, other.z_id).item()
        if not self.expressive:
            one = one._replace(z_exp=other.z_exp)
        return Figures(-10 * float(np.log10(error)), identity, *self._distances(one, other))

    def compare_drawings(self, first: FaceCoefficients, second: FaceCoefficients) -> Figures:
        """Two of the same person: the first says who it is, the second what they do."""
        identity = F.cosine_similarity(first.z_id, second.z_id).item()
        return Figures(float("nan"), identity, *self._distances(second._replace(z_id=first.z_id), second))

    def _distances(self, one: FaceCoefficients, other: FaceCoefficients) -> tuple[float, float]:
        return distances(*(self.net.landmark_face(face.z_id, face.z_exp)[0].numpy() for face in (one, other)))


def distances(found: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """Mean distance of landmarks [68, 3], mm: as they are, and of what lies nearest by a similarity."""
    scale, rotation, shift = similarity(found, true)
    off = found - true, scale * found @ rotation.T + shift - true
    as_is, nearest = (MILLIMETRES * float(np.linalg.norm(each, axis=-1).mean()) for each in off)
    return as_is, nearest


def main() -> None:
    """Command line; see the module's docstring."""
    parser = CliParser(prog="python -m tests.benchmarks.bm_invert")
    parser.add_argument("--people", type=whole_number(1, 1000), default=4, help="to draw (%(default)s)")
    parser.add_argument("--seed", type=whole_number(0, MAX_SEED), default=4242, help="of the people (%(default)s)")
    parser.add_argument("--size", type=whole_number(64, 1024), default=512, help="pixels a side (%(default)s)")
    parser.add_argument("--ckpt", default=str(DEMO), help="the model (%(default)s)")
    parser.add_argument("--perceptual", choices=KINDS, help="as of inference.invert")
    parser.add_argument("--known", action="store_true", help="also with true shape, expression, pose and camera given")
    parser.add_argument("--sheet", type=Path, help="also a picture of everybody, .png")
    add_record(parser)
    args = parser.parse_args()
    pipe = PortraitPipeline.from_checkpoint(args.ckpt)
    ruler = Ruler(pipe)
    name, distance = load_distance(args.perceptual, pipe.device)
    print(f"pictures are compared by: {name}", flush=True)
    everybody, pictures = [], []
    for number in range(args.people):
        rows, row = invert_one(pipe, ruler, distance, args.seed, number, args.size, args.known)
        everybody.append(rows)
        pictures.append(row)
        print(f"person {number}: " + "; ".join(f"{what} {line(rows[what])}" for what in rows), flush=True)
        if args.sheet:
            Image.fromarray(image_to_uint8(torch.cat(pictures, 1))).save(args.sheet)
    means = report(everybody)
    if args.record:
        record("bm_invert", means)


def invert_one(
    pipe: PortraitPipeline,
    ruler: Ruler,
    distance: Distance | None,
    seed: int,
    number: int,
    size: int,
    known: bool,
) -> tuple[dict[str, Figures | float], Tensor]:
    """The figures of a person by what they are of, and pictures side by side: the photo, the person as in it and
    elsewhere, the drawing of elsewhere."""
    first, second = (sit(seed, 2 * number + shot, shots=2) for shot in range(2))
    photo, elsewhere = drawn(first, size), drawn(second, pipe.image_size)
    found = [ruler.found(image, labels_of(which)) for image, which in ((photo, first), (elsewhere, second))]
    start = time.process_time()
    tracked = track_photo(Image.fromarray(image_to_uint8(photo)), face=ruler.net)
    inversion = METHODS[pipe.generator.convention](pipe, tracked, distance)
    person = last_person(inversion)
    seconds = time.process_time() - start
    seen = rendered(person, pipe, tracked.expression, tracked.joint_eulers, tracked.camera.tolist())
    again, truth = (rendered(one, pipe, *posed(second)) for one in (person, true_person(pipe, first)))
    seen_truly = inversion.photo.picture(pipe.image_size)[0]
    rows: dict[str, Figures | float] = {
        "as in the photo": ruler.compare(seen, seen_truly, tracked),
        "elsewhere": ruler.compare(again, elsewhere, labels_of(second)),
        "elsewhere, of the true latents": ruler.compare(truth, elsewhere, labels_of(second)),
        "the two drawings": ruler.compare_drawings(*found),
        "tracked face": face_error(ruler.net, tracked.z_id, first),
        "s of processor time": seconds,
    }
    if known:
        known_person = last_person(METHODS[pipe.generator.convention](pipe, told(tracked, first, size), distance))
        again_known = rendered(known_person, pipe, *posed(second))
        rows["elsewhere, all but looks known"] = ruler.compare(again_known, elsewhere, labels_of(second))
    return rows, torch.cat([seen_truly, seen, again, elsewhere], 2)


def last_person(inversion: ManifoldInversion | TriGridInversion) -> Any:
    """What a photo becomes."""
    *_, last = inversion.stages()
    return pipeline_of(last.model).person()


def rendered(person: Any, pipe: PortraitPipeline, expression: Tensor, eulers: Tensor, camera: list[float]) -> Tensor:
    """The portrait [3, H, W] of a person; neutral where the model has no expressions."""
    return person.render(expression if pipe.controls.expression else None, eulers, camera).image


def report(everybody: list[dict[str, Figures | float]]) -> dict[str, float]:
    """Prints means, and the worst; returns the means by name."""
    means: dict[str, float] = {}
    heads = "PSNR, dB", "identity", "landmarks, mm", "shape, mm"
    print(f"{'mean (worst)':40s} " + " ".join(f"{head:>16s}" for head in heads))
    for what, example in everybody[0].items():
        if isinstance(example, float):
            means[what] = float(np.mean([rows[what] for rows in everybody]))
            print(f"{what:40s} {means[what]:8.2f}")
            continue
        parts = []
        for field, worst in zip(Figures._fields, (min, min, max, max), strict=True):
            values = [getattr(rows[what], field) for rows in everybody]
            means[f"{field}, {what}"] = float(np.mean(values))
            parts.append("" if np.isnan(values[0]) else f"{np.mean(values):8.2f} ({worst(values):.2f})")
        print(f"{what:40s} " + " ".join(f"{part:>16s}" for part in parts))
    ratio = means["identity, elsewhere"] / means["identity, the two drawings"]
    print(f"{'identity elsewhere / of two drawings':40s} {ratio:8.2f}")
    return {name: value for name, value in means.items() if not np.isnan(value)} | {"identity, share": ratio}


def line(figures: Figures | float) -> str:
    """In a few characters."""
    return f"{figures:.2f}" if isinstance(figures, float) else " ".join(f"{value:.2f}" for value in figures)


def drawn(sitting: Sitting, size: int) -> Tensor:
    """The portrait of a sitting [3, H, H] in -1..1."""
    return torch.from_numpy(draw(sitting.posed, sitting.camera, size).image)


def labels(sitting: Sitting, *names: str) -> list[Tensor]:
    """Some of what is known of a sitting, float32."""
    return [torch.from_numpy(sitting.labels[name]).float() for name in names]


def labels_of(sitting: Sitting) -> Held:
    """Where the face is."""
    betas, eulers = labels(sitting, "betas", "joint_eulers")
    return Held(betas, eulers, torch.from_numpy(sitting.camera).float())


def posed(sitting: Sitting) -> tuple[Tensor, Tensor, list[float]]:
    """Expression, pose and camera, as people are rendered."""
    expression, eulers = labels(sitting, "z_exp", "joint_eulers")
    return expression, eulers, sitting.camera.tolist()


def true_person(pipe: PortraitPipeline, sitting: Sitting) -> Any:
    """Of the latents that the drawing was made from."""
    z_id, eps, betas = labels(sitting, "z_id", "eps", "betas")
    if isinstance(pipe, TriGridPipeline):
        return pipe.person(z=torch.cat([z_id, eps]))
    return pipe.person(z_id=z_id, z_noise=eps, betas=betas)


def told(tracked: TrackedPhoto, sitting: Sitting, size: int) -> TrackedPhoto:
    """The drawing of ``size`` pixels with its true shape, expression, pose and camera."""
    z_id, z_exp = labels(sitting, "z_id", "z_exp")
    whole = Placement(np.eye(2) * 2 / (size - 1), np.array([-1.0, -1.0]))
    return tracked._replace(placement=whole, z_id=z_id, expression=z_exp, **labels_of(sitting)._asdict())


def face_error(net: FaceReconstructor, z_id: Tensor, sitting: Sitting) -> Figures:
    """How far the landmarks of a found face are from the true ones while it does the same."""
    true_id, z_exp = labels(sitting, "z_id", "z_exp")
    found, true = (net.landmark_face(face[None], z_exp[None])[0].numpy() for face in (z_id, true_id))
    return Figures(float("nan"), float("nan"), *distances(found, true))


if __name__ == "__main__":
    run_cli(main)
