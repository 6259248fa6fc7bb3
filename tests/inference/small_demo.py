"""The shipped model at a part of its size: its networks on fewer rays and texels, for tests of what they learned."""

import tempfile
from pathlib import Path

from inference.pipeline import DEMO, PortraitPipeline
from torch_utils.checkpoint import load_raw, save_checkpoint


def small_demo(image_size: int = 192) -> PortraitPipeline:
    """It has no U, so that nothing in it knows its size: a person costs as much less as there are fewer texels."""
    data = load_raw(DEMO)
    config = data["config"]
    assert not config["superresolution"] and config["image_size"] % image_size == 0
    scale = config["image_size"] // image_size
    config |= {"image_size": image_size, "lowres_size": config["lowres_size"] // scale}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.safetensors"
        save_checkpoint(path, data)
        return PortraitPipeline.from_checkpoint(path)
