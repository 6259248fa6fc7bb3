"""Does a portrait's mask show a person? Asked where sets are made and where they are checked."""

import numpy as np

FACE = slice(17, 68)  # iBUG landmarks without the jaw, which lies on the outline
MIN_FACE = 0.5  # of them inside the mask
MIN_PERSON, MAX_PERSON = 0.05, 0.97  # share of the portrait


def mask_fault(mask: np.ndarray, landmarks: np.ndarray, seen: np.ndarray | None = None) -> str | None:
    """What is wrong with a portrait's mask, or None.

    Args:
        mask: [H, H] uint8, 255 the person.
        landmarks: [68, 2] pixels of the portrait, x right, y down.
        seen: [H, H] bool, which pixels the photo shows; all by default.
    """
    person = mask > 127
    seen = np.ones_like(person) if seen is None else seen
    if (share := person[seen].mean() if seen.any() else 0.0) < MIN_PERSON:
        return f"expected a person in the portrait, found a mask that covers {share:.1%} of it"
    columns, rows = np.rint(landmarks[FACE]).astype(int).T
    inside = (columns >= 0) & (rows >= 0) & (columns < len(mask)) & (rows < len(mask))
    columns, rows = columns[inside], rows[inside]
    face = person[rows, columns][seen[rows, columns]]
    if len(face) and (part := face.mean()) < MIN_FACE:
        return f"expected the face in the mask, found {part:.0%} of its landmarks there"
    if share > MAX_PERSON:
        return f"expected some background in the portrait, found a mask that covers {share:.0%} of it"
    return None
