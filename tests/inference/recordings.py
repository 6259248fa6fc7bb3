"""Recordings as Live Link Face writes them."""

from pathlib import Path

from networks.person.open_body.actions import ACTIONS

HEAD = ["HeadYaw", "HeadPitch", "HeadRoll"]
EYES = [f"{side}Eye{angle}" for side in ("Left", "Right") for angle in ("Yaw", "Pitch", "Roll")]
# Live Link Face's own order, which is not Apple's: right before left in two places.
ORDER = [name[0].upper() + name[1:] for name in ACTIONS]
for left, right in (("JawLeft", "JawRight"), ("MouthLeft", "MouthRight")):
    i, j = ORDER.index(left), ORDER.index(right)
    ORDER[i], ORDER[j] = ORDER[j], ORDER[i]


def make_rows(count=5, head=(0.0, 0.0, 0.0), rate=60):
    """A table as Live Link Face writes it, jawOpen rising by 0.1 a row; every value differs from the others."""
    header = ["Timecode", "BlendShapeCount", *ORDER, *HEAD, *EYES]
    rows = [header]
    for i in range(count):
        values = {name: (k + 1) / 1000 for k, name in enumerate(ORDER)} | {"JawOpen": 0.1 * i}
        code = f"14:03:{52 + i // rate:02d}:{i % rate:02d}.500"
        rows.append(
            [code, "61", *(f"{values[name]:.6f}" for name in ORDER), *(f"{angle}" for angle in head), *["0"] * 6]
        )
    return rows


def text(rows) -> str:
    return "\n".join(",".join(row) for row in rows) + "\n"


def write(path: Path, rows) -> str:
    path.write_text(text(rows))
    return str(path)
