"""How the tracker's landmarks move when a face acts, as found by ``python -m training.tracker_response``.

A detector of landmarks has learned common faces: it shows less of most actions than the skin does, and something of
each elsewhere. A fit that knows so tells actions apart that it would take for each other.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from networks.person.open_body.storage import NUM_ACTIONS
from networks.person.open_body.tables import read_table, write_table
from networks.person.tracker.follow import NUM_LANDMARKS

PATH = Path(__file__).parents[3] / "smpl_models" / "tracked_actions.safetensors"
KIND, VERSION = "landmark_response", 1


class Response(NamedTuple):
    """What landmarks show beside the points of the surface that they are; millimetres, axes of the canonical pose."""

    offsets: np.ndarray  # [478, 3] float32: of calm faces, averaged over people
    actions: np.ndarray  # [478, 3, 52] float32: more, by an action's amount
    metadata: dict[str, Any]


def write_response(response: Response, path: Path) -> None:
    """Writes the file, in half precision: 0.01 mm."""
    arrays = {name: torch.from_numpy(getattr(response, name)).half() for name in ("offsets", "actions")}
    write_table(path, KIND, VERSION, arrays, response.metadata)


def read_response(path: Path = PATH) -> Response:
    """Reads the file. Raises UserError: missing, damaged, or of another body than the open one that is here."""
    data = read_table(path, KIND, VERSION, "what landmarks show", "training.tracker_response")
    response = Response(data["offsets"].float().numpy(), data["actions"].float().numpy(), data["metadata"])
    assert response.actions.shape == (NUM_LANDMARKS, 3, NUM_ACTIONS)
    return response
