"""Whose avatar it is, as the options of commands say it."""

import argparse

import torch

from torch_utils.bounds import MAX_SEED, whole_number
from training.avatar.captured import CapturedViews
from training.avatar.config import AvatarTrainConfig
from training.avatar.generated import GeneratedViews
from training.avatar.layouts import LAYOUTS
from training.avatar.views import Views


def add_actor(parser: argparse.ArgumentParser) -> None:
    """Options that name the actor; :func:`open_views` reads them."""
    actor = parser.add_mutually_exclusive_group(required=True)
    actor.add_argument("--from", dest="source", help="checkpoint of a generator to learn a person of")
    actor.add_argument("--data", help="folder of a multi-view capture of one actor")
    parser.add_argument("--seed", type=whole_number(0, MAX_SEED), default=0, help="the person of --from (default: 0)")
    parser.add_argument("--format", choices=LAYOUTS, default="thuman4", help="layout of --data (default: %(default)s)")


def open_views(args: argparse.Namespace, config: AvatarTrainConfig, device: torch.device) -> Views:
    """Pictures of the actor that options name."""
    if args.data is not None:
        return CapturedViews(args.data, args.format, config.capture, device)
    return GeneratedViews(args.source, args.seed, config.distillation, config.seed, device)
