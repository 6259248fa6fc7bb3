"""Scenes of frames: exact, fast and of layers."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor

import torch

from inference.fast.body import FastBody
from inference.person import Person
from inference.pipeline import PortraitPipeline
from inference.portable.renderer import LayersRenderer
from inference.portable.skinning import SmoothedSkinning
from networks.saved_model import SavedModel
from tests.benchmarks.bm_render import random_pipeline
from tests.fake_cuda.counting import Found, counting, no_tf32_for_positions, no_waits, numbers, without_compiled_ops
from tests.fake_cuda.watch import count
from tests.inference.portable.made_up import make_avatar

CUDA = torch.device("cuda", 0)


def draw(person: Person, quality: str, yaw: float = 1.5) -> None:
    person.render([0.1] * 64, [[0.1] * 3] * 6, (1.6, yaw), quality=quality)


def frames(kind: str = "") -> Found:
    """A person, exact and fast frames, on two devices, by two threads; no position is rounded."""
    torch.set_float32_matmul_precision("high")
    pipe = random_pipeline(CUDA)
    pipe.person(seed=0)  # loads what it needs
    with counting() as persons, no_waits():
        person = pipe.person(seed=1)
    draw(person, "exact")
    with counting() as exact, no_waits():
        draw(person, "exact")
    no_tf32_for_positions(exact)
    with counting() as renderer:
        pipe.fast_renderer  # noqa: B018
    with counting() as first:
        draw(person, "fast")
    no_tf32_for_positions(first)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with counting() as recorded:
            draw(person, "fast")
        assert count("recordings") == 1
        with counting() as replayed, no_waits():
            draw(person, "fast", 1.4)
        assert count("replays") == 1
        two_threads(pipe)
        second_device(pipe)
    return {
        f"{kind}person": numbers(persons),
        f"{kind}exact frame": numbers(exact),
        f"{kind}fast renderer, once a model": numbers(renderer),
        f"{kind}first fast frame, with what is shaped once a person": numbers(first),
        f"{kind}fast frame": {"launches": recorded.recorded, "waits": 0},
        f"{kind}replayed fast frame": numbers(replayed),
    }


def two_threads(pipe: PortraitPipeline) -> None:
    """As in the viewer: one makes people while another draws."""
    with ThreadPoolExecutor(2) as threads:
        people = [threads.submit(pipe.person, seed) for seed in (2, 3)]
        drawn = [threads.submit(draw, people[0].result(), "fast") for _ in range(4)]
        drawn += [threads.submit(draw, people[1].result(), "fast") for _ in range(4)]
        for one in drawn:
            one.result()
    assert all(person.result()._fast.recording._graph is not None for person in people)


def second_device(pipe: PortraitPipeline) -> None:
    """Frames are recorded on another device of the same process, too."""
    there = torch.device("cuda", 1)
    person = PortraitPipeline(SavedModel(pipe.generator, None, {}), there).person(seed=0)
    for _ in range(3):
        draw(person, "fast")
    assert person._fast.recording._graph is not None
    assert person._fast.recording._outputs.image.device == there


def layers(kind: str = "") -> Found:
    """Frames of layers of mesh, posed as D^p poses: the avatar is made up, for nobody's maps were computed."""
    pipe = random_pipeline(CUDA)
    person = pipe.person(seed=0)
    who = FastBody(pipe.generator.body, person.latents.betas)
    skinning = SmoothedSkinning(pipe.generator, who)
    person.__dict__["_layers"] = LayersRenderer(make_avatar(), pipe.image_size, CUDA, skinning)
    draw(person, "layers")
    with counting() as found, no_waits():
        draw(person, "layers")
    no_tf32_for_positions(found)
    return {f"{kind}frame of layers": numbers(found)}


def plain_frames() -> Found:
    """The same without compiled ops."""
    without_compiled_ops()
    return frames("plain torch: ")
