"""Whose avatar it is, as the options of commands say it."""

import argparse

import torch

from torch_utils.bounds import MAX_SEED, whole_number
from training.avatar.captured import CapturedViews
from training.avatar.config import AvatarTrainConfig
from training.avatar.generated import GeneratedViews
from training.avatar.layouts import LAYOUTS
from training.avatar.portraits import PortraitViews
from training.avatar.views import Views

PORTRAITS = "portraits"


def add_actor(parser: argparse.ArgumentParser) -> None:
    """Options that name the actor; :func:`open_views` reads them."""
    actor = parser.add_mutually_exclusive_group(required=True)
    actor.add_argument("--from", dest="source", help="checkpoint of a generator to learn a person of")
    actor.add_argument("--data", help="a multi-view capture of one actor, or a data set of portraits")
    seed_help = "the person of --from, or of a set of portraits (default: 0)"
    parser.add_argument("--seed", type=whole_number(0, MAX_SEED), default=0, help=seed_help)
    format_help = "layout of --data; portraits: a data set of ours (default: %(default)s)"
    parser.add_argument("--format", choices=(*LAYOUTS, PORTRAITS), default="thuman4", help=format_help)


def open_views(args: argparse.Namespace, config: AvatarTrainConfig, device: torch.device) -> Views:
    """Pictures of the actor that options name."""
    if args.data is not None and args.format == PORTRAITS:
        return PortraitViews(args.data, args.seed, config, device)
    if args.data is not None:
        return CapturedViews(args.data, args.format, config.capture, device)
    return GeneratedViews(args.source, args.seed, config.distillation, config.seed, device)
