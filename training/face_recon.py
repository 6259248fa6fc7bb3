"""Train the small face reconstruction net of the open face on synthetic faces (for equation 9).

    python -m training.face_recon --out ckpts/face_recon_synth.safetensors

Faces are drawn for the occasion, several of each person, or taken from a data set with ``--data``. The loss is the mean
square error over the face's surface, once for identity and once for expression, at the landmarks, of the facial actions
and of the camera; each is divided by what predicting the mean would cost. The actions count alike, however little of
the surface they move: brows, lids and gaze.
"""

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm, trange

from networks.person.body_model import HEAD
from networks.person.face_model import FaceArrays, default_face, default_face_skin
from networks.person.face_recon import FaceCoefficients, FaceReconConfig, SmallFaceRecon, pack_face_recon
from networks.person.open_body.actions import ACTIONS
from networks.person.tracking import MILLIMETRES
from torch_utils.bounds import MAX_BATCH, MAX_IMAGES, MAX_SEED, MAX_WORKERS, real_number, whole_number
from torch_utils.checkpoint import save_checkpoint
from torch_utils.misc import CliParser, UserError, resolve_device, run_cli
from torch_utils.worker_pool import worker_pool
from training.data.checks import require_sound
from training.data.png import decode_png
from training.data.storage import open_dataset
from training.data.synthetic import (
    SyntheticPerson,
    draw,
    sample_actions,
    sample_expression,
    sample_identity,
    sample_pose_camera,
)
from training.data.synthetic.portrait import seen_from_head
from training.losses.landmarks import landmark_loss

OUT = "ckpts/face_recon_synth.safetensors"
DRAWN_SIZE = 96  # pixels a side; the net resizes what it is given
HELD_OUT = 0.1  # of the people
WHAT_IT_IS = (
    "Face reconstruction of this project's open face, trained on faces drawn from it: z_id, z_exp and the face "
    "camera from one picture. It knows nothing of real faces or of the Basel face model."
)


class Faces(NamedTuple):
    """Pictures of the face camera and what they show; float32 labels."""

    image: Tensor  # [N, 3, H, H] uint8
    z_id: Tensor  # [N, 80]
    z_exp: Tensor  # [N, 64]
    camera: Tensor  # [N, 2] (pitch, yaw) in the head's frame, radians

    def take(self, index: Tensor | slice) -> "Faces":
        return Faces(*(part[index] for part in self))


def main() -> None:
    """Command line; see the module's docstring."""
    parser = CliParser(prog="python -m training.face_recon", description=__doc__.split("\n")[0])
    parser.add_argument("--out", default=OUT, help="file to write (default: %(default)s)")
    parser.add_argument("--data", help="data set made by 'python -m training.data synthesize' (default: draw faces)")
    parser.add_argument(
        "--people", type=whole_number(1, MAX_IMAGES), default=1200, help="people to draw (default: %(default)s)"
    )
    parser.add_argument(
        "--shots", type=whole_number(1, 1000), default=4, help="pictures of each (default: %(default)s)"
    )
    parser.add_argument("--steps", type=whole_number(1, 10**7), default=1800, help="of the fit (default: %(default)s)")
    parser.add_argument(
        "--batch_size", type=whole_number(1, MAX_BATCH), default=32, help="pictures a step (default: %(default)s)"
    )
    parser.add_argument(
        "--lr", type=real_number(1e-12, 10), default=2e-3, help="largest learning rate (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=whole_number(0, MAX_SEED), default=0, help="of people and fit (default: %(default)s)"
    )
    parser.add_argument(
        "--workers", type=whole_number(0, MAX_WORKERS), default=2, help="processes; 0: this one (default: %(default)s)"
    )
    parser.add_argument(
        "--precision", choices=("fp32", "bf16"), default="fp32",
        help="of the net; bf16 is twice as fast where the processor has it (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    args = parser.parse_args()
    device = resolve_device(args.device)
    faces = read_faces(args.data) if args.data else draw_faces(args)
    # Whole people are held out; a data set has one picture of each.
    count = round(HELD_OUT * len(faces.image))
    if count < args.shots or len(faces.image) - count < 2:
        raise UserError(f"expected at least {round(args.shots / HELD_OUT)} pictures, found {len(faces.image)}")
    train, held_out = faces.take(slice(0, -count)), faces.take(slice(-count, None))
    model = fit(train, FaceReconConfig(), args, device)
    figures = evaluate(model, train, held_out)
    print("\n".join(f"{name}: {value:.4g}" for name, value in figures.items() if name != "actions"))
    print("r of actions: " + ", ".join(f"{name} {r:.2f}" for name, r in figures["actions"].items()))
    source = f"--data ({len(faces.image)} faces)" if args.data else f"--people {args.people} --shots {args.shots}"
    made_by = (
        f"python -m training.face_recon {source} --steps {args.steps} --batch_size {args.batch_size} --lr {args.lr} "
    )
    metadata = {
        "what": WHAT_IT_IS,
        "made_by": f"{made_by}--seed {args.seed} --precision {args.precision}",
        "figures": figures,
    }
    save_checkpoint(args.out, pack_face_recon(model.cpu(), metadata))
    print(f"wrote {args.out} ({Path(args.out).stat().st_size / 1e6:.1f} MB)")


# ---- Pictures -------------------------------------------------------------------------------------------------------


def draw_person(index: int, *, seed: int, shots: int, size: int) -> Faces:
    """Pictures of one person from the data set's distributions, its seed and number: [shots, ...].

    Every other one shows any few facial actions instead: some are rare in what people do, and small.
    """
    rng = np.random.default_rng([seed, index])
    identity = sample_identity(rng)
    person = SyntheticPerson(identity.z_id, identity.eps, identity.betas)
    rows = []
    for shot in range(shots):
        expression, pose = (sample_actions if shot % 2 else sample_expression)(rng), sample_pose_camera(rng)
        head = person.joint_transforms(pose.joint_eulers)[HEAD]
        camera = seen_from_head(pose.camera, head)
        picture = draw(person.posed(expression, pose.joint_eulers), camera, size, "face", head)
        image = np.rint((picture.image + 1) * 127.5).astype(np.uint8)
        rows.append((image, identity.z_id, expression, camera.astype(np.float32)))
    return Faces(*(torch.from_numpy(np.stack(part)) for part in zip(*rows, strict=True)))


def draw_faces(args: argparse.Namespace) -> Faces:
    """``people`` x ``shots`` pictures, drawn by ``workers`` processes."""
    one = partial(draw_person, seed=args.seed, shots=args.shots, size=DRAWN_SIZE)
    with worker_pool(one, args.workers) as draw_all:
        people = list(tqdm(draw_all(range(args.people)), total=args.people, desc="people"))
    return Faces(*(torch.cat(part) for part in zip(*people, strict=True)))


def read_faces(path: str) -> Faces:
    """The faces of a data set and their labels. Raises UserError: it is not sound."""
    dataset = open_dataset(path)
    require_sound(dataset)
    images = []
    for index in trange(len(dataset), desc="faces"):
        pixels = decode_png(dataset.read_face(index), dataset.face_size, f"{path}: face {index}")
        if dataset.face_size > DRAWN_SIZE:
            pixels = np.asarray(Image.fromarray(pixels).resize((DRAWN_SIZE, DRAWN_SIZE), Image.Resampling.BILINEAR))
        images.append(pixels.transpose(2, 0, 1))
    labels = (torch.from_numpy(dataset.labels[name]).float() for name in ("z_id", "z_exp", "face_camera"))
    return Faces(torch.from_numpy(np.stack(images)), *labels)


def to_network(image: Tensor) -> Tensor:
    """Bytes -> -1..1."""
    return image.float() / 127.5 - 1


def degrade(image: Tensor, random: torch.Generator) -> Tensor:
    """What tells generated pictures from drawn ones shall not matter: light, tint, blur and noise, at random.

    image [B, 3, H, H] in -1..1 -> the same shape.
    """

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random).to(image.device)

    batch, size = len(image), image.shape[-1]
    image = image * (1 + 0.15 * normal(batch, 1, 1, 1)) + 0.1 * normal(batch, 1, 1, 1) + 0.05 * normal(batch, 3, 1, 1)
    small = int(torch.randint(size // 3, size + 1, (1,), generator=random))
    image = F.interpolate(image, (small, small), mode="bilinear", antialias=True, align_corners=False)
    image = F.interpolate(image, (size, size), mode="bilinear", antialias=True, align_corners=False)
    return image + 0.08 * torch.rand(1, generator=random).to(image.device) * normal(*image.shape)


# ---- Fit ------------------------------------------------------------------------------------------------------------


class SurfaceLoss(torch.nn.Module):
    """Mean square errors of a reconstruction, each as a share of what predicting the mean label costs.

    |B dz|^2 over the face's surface is dz^T (B^T B) dz: vertices need not be computed.
    """

    id_gram: Tensor
    exp_gram: Tensor
    action_weight: Tensor

    def __init__(self, model: SmallFaceRecon, face: FaceArrays, train: Faces):
        super().__init__()
        self.landmark_face = model.landmark_face
        skin = default_face_skin()
        for name, basis in (("id_gram", face.id_basis), ("exp_gram", face.exp_basis)):
            flat = torch.from_numpy(basis[skin]).flatten(0, 1)  # [3 N, K]
            self.register_buffer(name, flat.T @ flat / len(skin))
        mean = FaceCoefficients(*(part.mean(0).expand_as(part) for part in train[1:]))
        spread = train.z_exp.std(0)
        self.register_buffer("action_weight", torch.where(spread > 0, spread, torch.inf).pow(-2))
        self.register_buffer("scale", torch.ones(5))
        self.scale = torch.stack(list(self.errors(mean, train)))

    def errors(self, found: FaceCoefficients, faces: Faces) -> Iterator[Tensor]:
        """Of identity, expression, landmarks (canonical units squared), actions (standard deviations squared, summed)
        and camera (radians squared)."""
        for gram, delta in ((self.id_gram, found.z_id - faces.z_id), (self.exp_gram, found.z_exp - faces.z_exp)):
            yield ((delta @ gram) * delta).sum(-1).mean()
        asked = self.landmark_face(faces.z_id, faces.z_exp)
        yield landmark_loss(asked, self.landmark_face(found.z_id, found.z_exp))
        yield ((found.z_exp - faces.z_exp).square() @ self.action_weight).mean()
        assert found.camera is not None
        yield F.mse_loss(found.camera, faces.camera)

    def forward(self, found: FaceCoefficients, faces: Faces) -> Tensor:
        return (torch.stack(list(self.errors(found, faces))) / self.scale).sum()


def fit(train: Faces, config: FaceReconConfig, args: argparse.Namespace, device: torch.device) -> SmallFaceRecon:
    """Adam with one cycle of the learning rate; the trained net in eval mode."""
    torch.manual_seed(args.seed)
    random = torch.Generator().manual_seed(args.seed)
    face = default_face()
    model = SmallFaceRecon(config, face)
    loss_of = SurfaceLoss(model, face, train).to(device)
    model.to(device).train()
    model.stages.to(memory_format=torch.channels_last)
    reduced = torch.autocast(device.type, torch.bfloat16, enabled=args.precision == "bf16")
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, total_steps=args.steps, pct_start=0.1)
    progress = trange(args.steps, desc="fit")
    recent: list[float] = []
    for _ in progress:
        index = torch.randint(len(train.image), (args.batch_size,), generator=random)
        batch = Faces(*(part[index].to(device) for part in train))
        image = degrade(to_network(batch.image), random).contiguous(memory_format=torch.channels_last)
        with reduced:
            found = model.coefficients(image)
        loss = loss_of(FaceCoefficients(*(part.float() for part in found if part is not None)), batch)
        if not loss.isfinite():
            raise UserError("the loss is not finite; expected a smaller --lr")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        recent = [*recent[-49:], loss.item()]
        progress.set_postfix(loss=f"{np.mean(recent):.3f}")
    return model.eval()


@torch.no_grad()
def evaluate(model: SmallFaceRecon, train: Faces, held_out: Faces) -> dict[str, Any]:
    """Mean distances of landmarks and of the camera on people never seen, and what predicting the mean gives; and for
    every facial action that is asked for, how what is found correlates with it."""
    device = next(model.parameters()).device
    parts = [model.coefficients(to_network(image).to(device)) for image in held_out.image.split(256)]
    found = FaceCoefficients(*(torch.cat(part).cpu() for part in zip(*parts, strict=True)))
    mean = FaceCoefficients(*(part.mean(0).expand(len(held_out.image), -1) for part in train[1:]))
    face = model.landmark_face.cpu()

    def distance(z: FaceCoefficients, asked: Faces | FaceCoefficients) -> float:
        return (face(z.z_id, z.z_exp) - face(asked.z_id, asked.z_exp)).norm(dim=-1).mean().item()

    def degrees(z: FaceCoefficients) -> float:
        assert z.camera is not None
        return torch.rad2deg((z.camera - held_out.camera).norm(dim=-1).mean()).item()

    own = distance(found, held_out)
    known_identity = FaceCoefficients(held_out.z_id, found.z_exp, None)
    mean_expression = FaceCoefficients(held_out.z_id, mean.z_exp, None)
    return {
        "landmarks": own,
        "landmarks_mm": MILLIMETRES * own,
        "landmarks_mm_of_mean": MILLIMETRES * distance(mean, held_out),
        "expression_mm": MILLIMETRES * distance(known_identity, held_out),
        "expression_mm_of_mean": MILLIMETRES * distance(mean_expression, held_out),
        "camera_degrees": degrees(found),
        "camera_degrees_of_mean": degrees(mean),
        "actions": _correlations(found.z_exp, held_out.z_exp),
    }


def _correlations(found: Tensor, asked: Tensor) -> dict[str, float]:
    """Pearson's r of expressions [N, 64], by facial action; actions that are never asked for are left out."""
    found, asked = ((part - part.mean(0)).double() for part in (found, asked))
    r = (found * asked).sum(0) / (found.norm(dim=0) * asked.norm(dim=0)).clamp_min(1e-12)
    return {name: round(r[k].item(), 2) for k, name in enumerate(ACTIONS) if asked[:, k].any()}


if __name__ == "__main__":
    run_cli(main)
