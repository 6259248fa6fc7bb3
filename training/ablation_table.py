"""The paper's tables beside our own numbers: Markdown, CSV and a figure."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image, ImageDraw

from torch_utils.misc import atomic_path
from training.data.storage import Dataset
from training.metrics.pictures import RenderedPictures
from training.metrics.renderers import VIEWS, load_renderer
from training.sampling import InputSampler

PEOPLE, CELL, CAPTION = 6, 128, 18  # of the figure: columns, pixels a picture, pixels of a caption


class Paper(NamedTuple):
    """A row as published: FID and KID x100 (method notes, section 5)."""

    label: str
    face: tuple[float, float] | None
    full: tuple[float, float] | None


class Result(NamedTuple):
    name: str
    model: Path
    data: dict[str, Any]  # what training.ablation wrote
    paper: Paper


PAPER: dict[int, dict[str, Paper]] = {
    1: {
        "gram_hd": Paper("GRAM-HD (128 -> 512)", (8.14, 0.30), (8.82, 0.28)),
        "anifacegan": Paper("AniFaceGAN", (11.56, 0.66), None),
        "ours": Paper("AniPortraitGAN", (7.64, 0.43), (10.10, 0.43)),
    },
    2: {
        "whole_only": Paper("whole only", (23.00, 1.48), (18.11, 1.06)),
        "no_torso": Paper("no torso", (10.68, 0.52), (22.58, 1.49)),
        "no_dual_camera": Paper("no dual camera", (17.89, 1.33), (14.05, 0.69)),
        "no_pose_smoothing": Paper("no D^p", (10.88, 0.52), (19.27, 1.23)),
        "full": Paper("full", (11.26, 0.57), (16.68, 0.97)),
    },
}
PAPER_SCALE = {
    1: "SHHQ-HS, face 256^2, full 512^2, 20K against 20K, FID and KID x100",
    2: "SHHQ-HS, 128^2, 5K against 5K, FID and KID x100",
}


def write_tables(
    outdir: Path, table: int, results: list[Result], dataset: Dataset, device: torch.device
) -> tuple[Path, Path, Path]:
    """Write ``tableN.md``, ``tableN.csv`` and ``tableN.png``; returns their paths."""
    text, numbers, picture = (outdir / f"table{table}{suffix}" for suffix in (".md", ".csv", ".png"))
    with atomic_path(text) as temporary:
        temporary.write_text(markdown(table, results), encoding="utf-8")
    with atomic_path(numbers) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(csv_rows(results))
    with atomic_path(picture) as temporary:
        figure(results, dataset, device).save(temporary)
    return text, numbers, picture


def numbers(result: Result, region: str) -> list[float | None]:
    """Frechet and kernel distance of a region, None where it is not measured."""
    return [result.data["distances"].get(f"{name}/{region}") for name in result.data["names"]]


def markdown(table: int, results: list[Result]) -> str:
    """The table, with its scale and detector in words."""
    frechet, kernel = results[0].data["names"]
    lines = [
        f"| | face {frechet} / {kernel} x100 | full {frechet} / {kernel} x100 | kimg | paper: face | paper: full |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        ours = [_pair(*numbers(result, region)) for region in ("face", "full")]
        paper = [_pair(*(pair or (None, None))) for pair in (result.paper.face, result.paper.full)]
        lines.append(f"| {result.paper.label} | {' | '.join(ours)} | {result.data['kimg']:g} | {' | '.join(paper)} |")
    data = results[0].data
    size = data["size"]
    scale = (
        f"Here: {data['data']}, portraits {size['portrait']}^2, faces {size['face']}^2, at most {data['num']} against "
        f"{data['num']} pictures, KID subsets of {data['kid_subset']}, detector: {data['detector']}."
    )
    note = (
        "" if frechet == "FID" else f" {frechet} and {kernel} are no FID and KID: they compare with each other alone."
    )
    return "\n".join([*lines, "", scale + note, f"Paper: {PAPER_SCALE[table]}.", ""])


def _pair(frechet: float | None, kernel: float | None) -> str:
    return "n/a" if frechet is None or kernel is None else f"{frechet:.2f} / {kernel:.2f}"


def csv_rows(results: list[Result]) -> list[list[Any]]:
    """A head line, and a line a row; empty where there is no number."""
    frechet, kernel = results[0].data["names"]
    head = ["row", "detector", "kimg", "num"]
    head += [f"{region} {name}" for region in ("face", "full") for name in (frechet, f"{kernel} x100")]
    head += [f"paper {region} {name}" for region in ("face", "full") for name in ("FID", "KID x100")]
    rows = []
    for result in results:
        data = result.data
        ours = [*numbers(result, "face"), *numbers(result, "full")]
        paper = [value for pair in (result.paper.face, result.paper.full) for value in (pair or (None, None))]
        rows.append([result.name, data["detector"], data["kimg"], data["num"], *ours, *paper])
    return [head, *rows]


def figure(results: list[Result], dataset: Dataset, device: torch.device) -> Image.Image:
    """The same people by every model, portraits over faces."""
    sampler = InputSampler(dataset, None, 0)
    height = CAPTION + 2 * CELL
    sheet = Image.new("RGB", (PEOPLE * CELL, len(results) * height), "white")
    for line, result in enumerate(results):
        pictures = RenderedPictures(load_renderer(result.model, device), sampler, tuple(VIEWS), PEOPLE, 0)
        top = line * height
        ImageDraw.Draw(sheet).text((4, top + 3), result.paper.label, fill="black")
        for i, images in enumerate(pictures.read(range(PEOPLE)).values()):
            for column, image in enumerate(images):
                cell = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((CELL, CELL), Image.Resampling.BICUBIC)
                sheet.paste(cell, (column * CELL, top + CAPTION + i * CELL))
    return sheet
