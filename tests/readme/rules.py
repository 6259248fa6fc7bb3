"""How every documented command is run small enough for a test, or why it cannot be.

The first rule whose pattern is found in a command is its rule. A command without a rule fails its test, and so does a
rule without a command.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from inference.pipeline import PortraitPipeline
from tests.networks.helpers import TINY_CONFIG
from tests.networks.person.fitting.drawn_photos import without_detectors
from tests.readme.documents import Command
from tests.readme.runners import (
    environment_has_its_name,
    files_are_there,
    folder_is_the_makefile_s,
    hooks_are_configured,
    make_nothing,
    modules_are_there,
    pack_data_set,
    package_is_named,
    run_here,
    run_with_detectors,
    scene_is_there,
    serve,
    tests_are_there,
    without_launcher,
)
from tests.training.avatar.captures import make_set as make_capture
from tests.training.tiny_run import CONFIG
from tests.training.trigrid.tiny_portraits import CONFIG as PORTRAITS

ROOT = Path(__file__).resolve().parents[2]


def on_a_small_capture(root: Path, words: list[str], instead: dict[str, object]) -> None:
    """In place of the set that a command names, one of that layout."""
    folder = root / words[words.index("--data") + 1]
    folder.parent.mkdir(exist_ok=True)
    make_capture(folder, words[words.index("--format") + 1])
    (folder / "smplx.npz").rename(root / "smplx.npz")
    run_here(root, words, instead)


class Rule(NamedTuple):
    pattern: str
    add: str = ""  # behind the command; the last of two equal options counts
    why: str = ""
    swap: dict[str, str] = {}  # placeholders, and what stands for them
    how: Callable[[Path, list[str], dict[str, object]], None] = run_here
    instead: dict[str, object] = {}  # by dotted name, what stands in for something
    needs: tuple[str, ...] = ()  # paths beside those that the words name

    def applied_to(self, command: Command) -> list[str]:
        return [self.swap.get(word, word) for word in command.words] + self.add.split()


def options(section: str, *names: str) -> str:
    """Keys of the tests' tiny run, as a command line sets them."""
    values = CONFIG[section]
    return " ".join(f"--{section}.{name} {values[name]}".replace(", ", ",") for name in names or values)


TINY_AVATAR = (
    "--avatar.map_size 16 --avatar.unet.size 8 --avatar.unet.widths [6,6,4] --avatar.unet.style_dim 8 --optim.steps 1"
    " --optim.static_steps 0 --run.held_out 1 --run.snapshot_views 1 --distillation.frames 2 --distillation.window 0.5"
    " --distillation.expression_draws 2"
)
TINY_PORTRAITS = " ".join(
    f"--{section}.{name} {value}".replace(", ", ",").replace("'", "")
    for section in ("generator", "discriminator", "run") for name, value in PORTRAITS[section].items()
) + " --batch_size 4 --run.total_kimg 0.004 --mirror false"  # fmt: skip
SIZES = [name for name in CONFIG["generator"] if name != "superresolution"]  # of both stages
TINY_RUN = " ".join(
    (
        options("generator", *SIZES), options("discriminators", "channel_base", "max_channels"),
        options("losses", "points"), options("optim", "batch_size"), options("run"),
        "--run.total_kimg 0.004 --mirror false --manifold_init spheres",
    )
)  # fmt: skip
DRAWN = "detectors may be absent: drawn photos, whose landmarks are known, and who knows them stand in"
TINY_STAGE1 = TINY_RUN + " --expression_warmup 2 --discriminator_warmup 0"
# U has room to interpolate, and discriminators to grow from 16^2 to 64^2.
ROOM = (
    "--generator.feature_dim 4 --generator.sr_features 8 --generator.sr_up_channels [8,8] --channel_base 192 "
    "--run.metric_images 4"
)
OPEN_MODELS = "--body_model null --face_model null"
OPEN_RECON = OPEN_MODELS + " --face_recon ckpts/face_recon_synth.safetensors"
TINY_VIDEO = "--video_length 2"
# Shrunk 8 times, as the tiny run is from the paper's size: a set too small for a run is refused here, too.
TINY_SET, TINY_SET_512 = "--num 8 --size 32 --face_size 16", "--num 8 --size 64 --face_size 32"
TINY_METRICS = "--num 8 --kid_subset 4 --control_num 2 --cache cache"
TINY_TABLE = "--kimg 0.004 --num 8 --kid_subset 4 --cache cache"
TINY_PRETRAIN = (
    "--people 2 --rays 20 --points 40 --steps 1 --batch_size 1 --batch_points 10 --expression_steps 1 --workers 0 "
    "--init_from null " + options("generator", *SIZES)
)
TINY_RAYS = (
    "--people 2 --views 1 --rays 20 --steps 1 --batch_size 1 --batch_rays 10 --rendered_rays 4 --workers 0 "
    + " ".join(word for word in TINY_PORTRAITS.split("--discriminator")[0].split() if word)
    + " --generator.latent_dim 160"
)
TINY_INVERSION = "--latents 1 --styles 1 --weights 1 --perceptual none"
TINY_FACES = "--people 12 --shots 1 --steps 2 --batch_size 4 --out ckpts/face.safetensors"


load_pipeline = PortraitPipeline.from_checkpoint


def tiny_pipeline(*_, **__) -> PortraitPipeline:
    return load_pipeline("ckpts/demo.safetensors")


RULES = (
    # ---- setting up
    Rule("^make ", how=make_nothing, why="sets up an environment, and `make test` runs this: only its steps are asked"),
    Rule(r"^python3 -m venv|^\. ", how=folder_is_the_makefile_s, why="as `make` does it"),
    Rule("^pip install pre-commit|^pre-commit install", how=hooks_are_configured, why="installs; as `make lint`"),
    Rule("^pip install ziglang$|^pip install .*anny", how=package_is_named, why="installs a package"),
    Rule("networks.person.open_body build", how=modules_are_there, why="needs anny"),
    Rule("training.tracker_(calibration|response|shapes)", how=modules_are_there, why="draws for half an hour"),
    Rule("^pip install|^conda env create", how=files_are_there, why="installs; test_requirements.py reads the files"),
    Rule("^conda activate", how=environment_has_its_name, why="needs conda"),
    Rule("^pytest ", how=files_are_there, why="needs a GPU"),
    Rule("^python -m tests.training.golden_losses", how=modules_are_there, why="changes files of the repository"),
    Rule("^python -m pytest ", how=tests_are_there, why="a test in a test"),
    # ---- videos
    Rule("gen_video.py$", "--seeds 0 " + TINY_VIDEO, "the shipped model itself, two frames of one person"),
    Rule("gen_video.py .*SSHQ512_inf", "--config tiny.yaml " + TINY_VIDEO, "a file of that layout, but small"),
    Rule("gen_video.py .*labels.npz", why="a frame a row of a tiny set"),
    Rule("gen_video.py .*ckpts/portrait360", TINY_VIDEO, "two frames by a tiny model",
         swap={"ckpts/portrait360.safetensors": "runs/p360_start/latest"}),
    Rule("gen_video.py .*--ckpt", TINY_VIDEO, "two frames"),
    Rule("gen_video.py ", "--ckpt ckpts/demo.safetensors " + TINY_VIDEO, "two frames by a tiny model"),
    Rule("inference.viewer", "--ckpt ckpts/demo.safetensors --no_browser --port 0", "a tiny model", how=serve),
    Rule("inference.portable page"),
    Rule("inference.portable .*vrm", "--ckpt ckpts/named.safetensors", "a tiny model with facial actions"),
    Rule("inference.portable", "--ckpt ckpts/demo.safetensors", "a tiny model"),
    Rule("inference.mesh", "--ckpt ckpts/demo.safetensors --resolution 16", "a tiny model"),
    Rule("inference.splat_file"),
    Rule("inference.avatar_video", "--size 16 --frames 0 2 1", "two small frames"),
    Rule("inference.pose_transfer", "--seeds 0", DRAWN, instead=without_detectors()),
    Rule("inference.invert", f"{TINY_INVERSION} --ckpt ckpts/named.safetensors", DRAWN, instead=without_detectors()),
    Rule("inference.sheet .*three_starts", "--quality exact --size 32", "a person by four tiny models"),
    Rule("inference.sheet --ckpt", "", "two people of a tiny model"),
    Rule("inference.sheet", "--ckpt ckpts/demo.safetensors", "a tiny model"),
    Rule("inference.keyframes from-video", "--no_check --fps 10", DRAWN, instead=without_detectors()),
    Rule("inference.keyframes"),
    Rule("keyframes.make", "--out made"),
    Rule(
        "inference.convert .*FOLDER", "--config tiny.yaml", "a file of that layout, but small",
        swap={"FOLDER": "released", "FILE.npy": "released/index.npy"},
    ),
    Rule("inference.convert old.pt"),
    Rule(r"inference.convert .*\.pkl", why="a file of that layout, but small"),
    Rule("^python -c "),
    # ---- data
    Rule("training.data blender", how=modules_are_there, why="installs Blender's module"),
    Rule("training.data synthesize .*--renderer cycles", how=modules_are_there,
         why="needs Blender: tests/training/data/cycles"),
    Rule("training.data inspect datasets/rendered", swap={"datasets/rendered": "datasets/synth"}),
    Rule("training.data synthesize .*--shots 400", "--num 6 --shots 6 --size 32 --workers 0", "six small portraits"),
    Rule("training.data synthesize .*--size (256|512)", TINY_SET_512, "eight people"),
    Rule("training.data synthesize", TINY_SET, "eight people"),
    Rule("training.data people", "--num 1 --size 32", "one person"),
    Rule("training.data prepare .*my_", "--size 64 --face_size 32 --workers 0 --every 2", DRAWN,
         instead=without_detectors()),
    Rule("training.data prepare", "--size 64 --face_size 32 --workers 1", "three drawn photos"),
    Rule("training.data convert"),
    Rule("training.data inspect"),
    Rule("^zip ", how=pack_data_set, needs=("datasets/synth",)),
    # ---- training
    Rule("^torchrun .*demo_stage1_64", f"{TINY_RUN} {ROOM}", "one process, a step", how=without_launcher,
         needs=("runs/demo32",)),
    Rule("^torchrun .*demo_stage1", f"{TINY_STAGE1} {ROOM}", "one process, a step at 16^2", how=without_launcher),
    Rule("^torchrun .*demo_stage2", f"{TINY_RUN} {ROOM}", "one process, a step to 64^2", how=without_launcher,
         needs=("runs/demo64",)),
    Rule("training.pretrain .*portrait360", TINY_RAYS, "a step, two people"),
    Rule("training.pretrain", TINY_PRETRAIN, "a step, two people, M as spheres",
         instead={"training.pretrain.wrap_manifolds": lambda generator, seed: None}),
    Rule("training.history", "--people 1", "of tiny runs"),
    Rule("training.release", why="of tiny runs, beside the model that other commands use",
         swap={"ckpts/demo.safetensors": "ckpts/mine.safetensors",
               "ckpts/portrait360.safetensors": "ckpts/mine360.safetensors"}),
    Rule("^torchrun .*train.py", f"{TINY_STAGE1} {OPEN_RECON}", "one process; test_training_loop.py starts two",
         how=without_launcher),
    Rule("train.py .*portrait360_stage3", TINY_PORTRAITS + " --schedules.raw_size null", "a step at 32^2"),
    Rule("train.py .*portrait360_from_start", TINY_PORTRAITS + " --generator.latent_dim 160 --micro_batch 0",
         "a step at 32^2"),
    Rule("train.py .*portrait360", TINY_PORTRAITS, "a step at 32^2"),
    Rule("training.trigrid.pose_lessons", "--people 32 --steps 20 --lent 8 --lent_steps 20 --device cpu",
         "a batch of people of either kind, twenty steps"),
    Rule("training.trigrid.poses", "--num 8 --device cpu", "eight portraits"),
    Rule("train.py .*stage2", TINY_RUN, "a step to 64^2"),
    Rule("train.py .*starts/", TINY_STAGE1, "a step at 16^2", needs=("runs/pretrained",)),
    Rule("train.py ", TINY_STAGE1, "a step at 16^2"),
    Rule("training.avatar .*--format portraits", TINY_AVATAR, "a step to maps of 16^2"),
    Rule("training.avatar .*--data", f"{TINY_AVATAR} --capture.body smplx.npz --capture.held_out_cameras []"
         " --capture.held_out_every 2", "a made-up body, three frames of two cameras", how=on_a_small_capture),
    Rule("training.avatar.linear", "--rank 2 --draws 4 --steps 1", "four poses, a step"),
    Rule("training.avatar", TINY_AVATAR, "a step to maps of 16^2"),
    Rule("training.face_recon", TINY_FACES, "two steps"),
    # ---- metrics
    Rule("^torchrun .*training.metrics", TINY_METRICS + " --detector random", "one process", how=without_launcher),
    Rule("training.metrics --metrics recon .*--masks", "--detector random", "eight pictures",
         swap={"FRAMES": "datasets/synth/images", "TRUE_FRAMES": "datasets/synth/images",
               "MASKS": "datasets/synth/masks"}),
    Rule("training.metrics --metrics recon", "--detector random", "a data set against its own pictures",
         swap={"out/me": "datasets/me/images"}),
    Rule("training.metrics --fakes", TINY_METRICS + " --detector random", "an untrained net for Inception's weights",
         swap={"FOLDER": "datasets/synth/images", "FOLDER_OR_DATA_SET": "datasets/synth"}),
    Rule("training.metrics .*--detector attributes", TINY_METRICS, "eight pictures"),
    Rule("training.metrics", TINY_METRICS + " --detector random", "an untrained net for Inception's weights"),
    Rule("training.ablation .*--detector attributes", f"{TINY_TABLE} {TINY_STAGE1}", "four images"),
    Rule("training.ablation .*--table 1", f"{TINY_TABLE} --rows gram_hd --detector random {TINY_RUN} {OPEN_RECON}",
         "both stages of a row, four images"),
    Rule("training.ablation .*shhq",
         f"{TINY_TABLE} --rows no_torso --detector random {TINY_STAGE1} {OPEN_RECON}", "a row, four images"),
    Rule("training.ablation", f"{TINY_TABLE} --rows whole_only --detector random {TINY_STAGE1}", "a row, four images"),
    Rule("training.report"),
    # ---- benchmarks
    Rule("bm_render .*--size demo", "--frames 1", "a tiny model, one pair of frames",
         swap={"FOLDER": "keyframes/talk", "16": "1"},
         instead={"inference.pipeline.PortraitPipeline.from_checkpoint": tiny_pipeline}),
    Rule("bm_render", "--frames 1", "a tiny model",
         instead={"networks.manifold.generator.GeneratorConfig": lambda: TINY_CONFIG}),
    Rule("bm_reader", "--data datasets/synth --reads 20", "eight pictures"),
    Rule("bm_synthesize", "--num 1 --size 32", "one person"),
    Rule("bm_invert", how=modules_are_there, why="minutes a person, and detectors may be absent"),
    Rule("bm_from_video", how=modules_are_there, why="draws a video for minutes, and detectors may be absent"),
    Rule("bm_floor"),
    Rule("benchmarks.records"),
    Rule("tests.fake_cuda", how=scene_is_there, why="its own tests run the scenes"),
    Rule("bm_training .*demo_stage1_64", f"--steps 1 {TINY_RUN} {ROOM}", "a step at 16^2", needs=("runs/demo32",)),
    Rule("bm_training", "--steps 1 " + TINY_STAGE1, "a step at 16^2"),
    Rule("bm_person", "--turns 1 --ckpt ckpts/demo.safetensors", "a tiny model"),
    Rule("bm_viewer", "--ckpt ckpts/demo.safetensors --frames 10", "ten frames of a tiny model"),
    Rule("bm_tracker", "--frames 3", "three frames", how=run_with_detectors),
    Rule("bm_point_network", "--share 0.01 --repeats 1", "a hundredth of the points"),
    Rule("bm_against .*--portraits", "--turns 1", "a turn against the same", swap={"../before": str(ROOT)}),
    Rule("bm_against .*--person", how=modules_are_there, why="a person of the released size: bm_render's"),
    Rule("bm_against", f"--turns 1 {TINY_STAGE1}", "a step at 16^2 against the same", swap={"../before": str(ROOT)}),
    Rule("bm_ray_manifold", "--samples 2 --levels 1 --repeats 1", "one turn"),
    Rule("bm_avatar", "--frames 1", "a frame of a tiny model"),
    Rule("bm_rasterize_layers", "--size 16 --layers 2 --nodes 3 --repeats 1", "two small layers"),
    Rule("bm_trigrid", "--size tiny --frames 1", "a tiny model, one frame of each kind"),
    Rule("bm_splat", "--num 50 --size 32 --repeats 1", "fifty Gaussians"),
    Rule("bm_metrics", "--num 1000", "the fewest it takes; what it times has tests of its own",
         instead={f"training.metrics.distances.{name}_distance": lambda *_: 0.0 for name in ("frechet", "kernel")}),
)  # fmt: skip


def find_rule(command: Command) -> Rule:
    rule = next((rule for rule in RULES if re.search(rule.pattern, str(command))), None)
    assert rule is not None, f"{command.where}: {command}: no rule in tests/readme/rules.py says how to test it"
    return rule
