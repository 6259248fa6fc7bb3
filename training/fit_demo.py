"""Make ckpts/demo.pt: the generator fitted by plain reconstruction to synthetic portraits, in minutes on a CPU.

    python -m training.fit_demo --out ckpts/demo.pt

No discriminator takes part. M is regressed to a relief of the average head and shoulders, phi to the colours and
opacities of synthetic people on the manifolds, D^e to the displacements of the face model (paper eq. 10). D^p stays at
its initialisation, the mean filter, and U is set to interpolate phi's maps: ten minutes of training it on a CPU looked
worse.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch

from networks.body_assets import embedded_body, head_shoulder_vertices
from networks.face_model import embedded_face
from networks.generator import Generator, GeneratorConfig
from networks.saved_model import SavedModel, pack_model
from torch_utils.checkpoint import load_checkpoint, load_weights, save_checkpoint
from torch_utils.config import config_from_dict, load_yaml
from torch_utils.misc import CliParser, UserError, check_positive, run_cli
from training.demo.manifold_shape import fit_manifolds
from training.demo.people import Sitter, make_sitters, map_texels, sitter_from_dict, sitter_to_dict, synthetic_priors
from training.demo.stages import fit_expression, fit_radiance, image_psnr, set_superresolution

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "demo.yaml"
NUM_PRIORS = 1500  # rows of labels in the checkpoint
NUM_MEAN_SAMPLES = 10_000
HELD_OUT = 8  # people the quality is measured on
FIRST_HELD_OUT = 1_000_000  # their first seed
WHAT_IT_IS = (
    "Not trained adversarially: this project's generator fitted by plain reconstruction to portraits drawn from its "
    "embedded synthetic body and face, with U set to interpolate. It serves to show and test the software until a "
    "GAN-trained model exists."
)


def main() -> None:
    """Command line; see the module's docstring."""
    parser = CliParser(prog="python -m training.fit_demo", description=__doc__.split("\n")[0])
    parser.add_argument("--out", default="ckpts/demo.pt", help="file to write (default: %(default)s)")
    parser.add_argument("--config", default=str(CONFIG), help="sizes of the generator (default: configs/demo.yaml)")
    parser.add_argument("--people", type=int, default=240, help="synthetic people to fit (default: %(default)s)")
    parser.add_argument("--texels", type=int, default=80_000, help="texels to look at a person (default: %(default)s)")
    parser.add_argument("--shots", type=int, default=1, help="pictures of each (default: %(default)s)")
    parser.add_argument("--effort", type=float, default=1.0, help="multiplies the number of steps of every stage")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", help="folder that keeps the result of every stage, to go on from after a stop")
    parser.add_argument("--workers", type=int, default=2, help="processes that draw people (default: %(default)s)")
    args = parser.parse_args()
    check_positive(args, "people", "texels", "shots", "effort", "workers")
    if args.seed < 0:
        raise UserError(f"--seed: expected a number of at least 0, found {args.seed}")
    config = config_from_dict(GeneratorConfig, load_yaml(args.config), args.config)
    save_checkpoint(args.out, pack_model(fit(config, args), half=True))
    print(f"wrote {args.out} ({Path(args.out).stat().st_size / 1e6:.1f} MB)")


def fit(config: GeneratorConfig, args: argparse.Namespace) -> SavedModel:
    """All stages, those that ``args.work`` holds already from there; returns the fitted model."""
    torch.manual_seed(args.seed)
    body = embedded_body()
    generator = Generator(config, body, torch.as_tensor(head_shoulder_vertices(body)))
    work = Path(args.work) if args.work else None
    figures: dict[str, float] = {}

    def steps(count: int) -> int:
        return max(20, round(count * args.effort))

    def stage(name: str, run: Callable[[], float]) -> None:
        """Run a stage and keep its result, or take the kept one."""
        kept = work / f"{name}.pt" if work else None
        if kept and kept.exists():
            data = load_checkpoint(kept)
            load_weights(generator, data["state"], str(kept))
            figures.update(data["figures"])
            return
        start = time.monotonic()
        figures[name] = run()
        figures[f"{name}_minutes"] = round((time.monotonic() - start) / 60, 1)
        print(f"{name}: {figures[name]:.5g} after {figures[f'{name}_minutes']} minutes", flush=True)
        if kept:
            save_checkpoint(kept, {"state": dict(generator.state_dict()), "figures": dict(figures)})

    average = generator.body.canonical_vertices(torch.zeros(1, 10))[0].numpy()
    stage("manifolds", lambda: fit_manifolds(generator, average, steps=steps(800), seed=args.seed))
    texels = map_texels(generator)

    def people(name: str, seeds: range) -> list[Sitter]:
        kept = work / f"{name}.pt" if work else None
        if kept and kept.exists():
            return [sitter_from_dict(data) for data in load_checkpoint(kept)["sitters"]]
        start = time.monotonic()
        sizes = {"num_texels": args.texels, "num_shots": args.shots, "size": config.image_size}
        sitters = make_sitters(seeds, texels, **sizes, workers=args.workers, desc=name)
        figures[f"{name}_minutes"] = round((time.monotonic() - start) / 60, 1)
        if kept:
            save_checkpoint(kept, {"sitters": [sitter_to_dict(sitter) for sitter in sitters]})
        return sitters

    sitters = people("people", range(args.people))
    held_out = people("held_out_people", range(FIRST_HELD_OUT, FIRST_HELD_OUT + HELD_OUT))
    seeded = {"seed": args.seed}
    batch = {"people": 8, **seeded}
    face = embedded_face()
    stage("phi", lambda: fit_radiance(generator, sitters, texels, steps=steps(3500), points=2500, **batch))
    stage("expression", lambda: fit_expression(generator, sitters, face, steps=steps(6000), points=1500, **batch))
    stage("interpolation", lambda: set_superresolution(generator, sitters, texels, points=1500, **seeded))
    priors = synthetic_priors(NUM_PRIORS, args.seed)
    latents = priors.sample_latents(NUM_MEAN_SAMPLES, torch.Generator().manual_seed(args.seed))
    generator.set_mean_styles(latents.z_id, latents.z_noise)
    figures["psnr"] = image_psnr(generator, sitters[:HELD_OUT])
    figures["psnr_held_out"] = image_psnr(generator, held_out)
    for name, value in figures.items():
        print(f"{name}: {value:.5g}")
    metadata = {
        "what": WHAT_IT_IS,
        "made_by": f"python -m training.fit_demo --people {args.people} --shots {args.shots} "
        f"--texels {args.texels} --effort {args.effort:g} --seed {args.seed}",
        "figures": figures,
    }
    return SavedModel(generator, priors, metadata)


if __name__ == "__main__":
    run_cli(main)
