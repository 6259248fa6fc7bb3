"""What a run leaves behind at every snapshot: picture, distances, state and models."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from training.data.label_priors import priors_of
from training.data.storage import Dataset
from training.evaluation import Evaluation
from training.recipe import Task
from training.run.log import snapshot_path
from training.run.state import BEST, LATEST, RunState

PRIOR_ROWS = 4096  # of labels, in the saved models


class Outputs(ABC):
    """What a run leaves behind at every snapshot (:class:`training.recipe.Writes`)."""

    def __init__(self, task: Task[Any, Any], dataset: Dataset, outdir: Path, evaluation: Evaluation):
        self.config, self.outdir, self.evaluation = task.config, outdir, evaluation
        self.priors = priors_of(dataset, mirror=task.sampler.mirror, max_rows=PRIOR_ROWS)

    @abstractmethod
    def draw(self, path: Path, state: Any) -> None:
        """The picture of where training stands."""

    def write(self, state: RunState, *, in_haste: bool) -> dict[str, float]:
        """Picture, distances (neither of them in haste), state and models; returns the distances.

        The state comes before the models: a kill in between leaves an older model, never an older state.
        """
        measured: dict[str, float] = {}
        if not in_haste:
            self.draw(snapshot_path(self.outdir, state.cur_nimg), state)
            measured = self.evaluation(state.g_ema)
        distance = measured.get("distance", math.inf)
        better = distance < (math.inf if state.best is None else state.best)
        if better:
            state.best = distance
        state.save(self.outdir)
        for name in (LATEST, *([BEST] if better else [])):
            state.save_model(self.outdir / name, self.priors)
        return measured
