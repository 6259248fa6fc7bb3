"""The mapping before stage 0: w says what single numbers of z say."""

import math

import torch
from torch import Tensor

from networks.layers import weight_and_bias
from networks.manifold.generator import ID_DIM, NOISE_DIM
from networks.stylegan_layers import EqualLinear
from networks.trigrid.mapping import ConditionedMapping
from training.data.synthetic.appearance import N_USED

UNSEEN = slice(ID_DIM + N_USED, ID_DIM + NOISE_DIM)  # of z: what says nothing about people
LOOKS, FACES = range(ID_DIM, ID_DIM + N_USED), range(24)  # of z: all that eps says, the most of z_id


@torch.no_grad()
def listen(mapping: ConditionedMapping) -> None:
    """At first most entries of w follow one number of z each, where it is above 0 or 1 or below 0 or -1.

    Adam looks at every weight by itself: what a single number means it then learns from few people. Where all of them
    are mixed everywhere, as in random weights, 25,600 looks at people taught it little of hair and clothes.
    """
    first, second = (mapping.get_submodule(f"fc{k}") for k in range(2))
    assert isinstance(first, EqualLinear) and isinstance(second, EqualLinear)
    heard = [(k, sign, at) for at in (0, 1) for sign in (1, -1) for k in LOOKS]
    heard += [(k, sign, 0) for sign in (1, -1) for k in FACES]
    number, sign, at = torch.tensor(heard[: len(first.weight)]).T
    rows = torch.arange(len(number))
    first.weight[rows] = 0
    first.weight[rows, number] = sign * math.sqrt(first.weight.shape[1]) / first.lr
    first.bias[rows] = -at / first.lr
    second.weight.copy_(torch.eye(len(second.weight)) * math.sqrt(len(second.weight)) / second.lr)


@torch.no_grad()
def ignore_unseen(mapping: ConditionedMapping) -> None:
    """What says nothing about people has no weight; :func:`keep_unseen` while it learns."""
    weight_and_bias(mapping.get_submodule("fc0"))[0][:, UNSEEN] = 0


def keep_unseen(mapping: ConditionedMapping) -> None:
    """No gradient reaches the weights of what says nothing about people."""

    def without(gradient: Tensor) -> Tensor:
        kept = gradient.clone()
        kept[:, UNSEEN] = 0
        return kept

    weight_and_bias(mapping.get_submodule("fc0"))[0].register_hook(without)
