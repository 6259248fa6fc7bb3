"""Skin, eyes, teeth, tongue and shirt of a posed person as fine meshes with what their materials need."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from networks.person.open_body import parts
from training.data.cycles.geometry import Mesh, cut, part_of, refine, thicken
from training.data.synthetic import clothes, eyes, skin
from training.data.synthetic.appearance import SHIRT_COLLAR, TURTLENECK, Appearance
from training.data.synthetic.figure import figure
from training.data.synthetic.mesh import MM, smoothstep
from training.data.synthetic.noise import noise2, noise3
from training.data.synthetic.person import PosedPerson
from training.data.synthetic.surface import OWN, WHERE, Surface

_LOWEST = -250.0  # mm of the mean person; the shirt hides all skin below
_GROOVE = 2.6 * MM  # depth of a wrinkle that would take all the light
_CORNEA = 0.47  # radians from the gaze within which the eye bulges
_CLOTH = 1.7 * MM  # thickness


def linear(colour: np.ndarray) -> np.ndarray:
    """sRGB 0..1 -> linear."""
    colour = np.clip(colour, 0.0, 1.0)
    return np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)


def body_meshes(posed: PosedPerson, fine: float) -> dict[str, tuple[str, Mesh]]:
    """Name -> (material, mesh); ``fine``: mm between the vertices of the face."""
    look = posed.shader.look
    body, shirt = posed.surfaces[0], posed.surfaces[1]
    whole = Mesh(body.vertices, body.faces, {"own": body.attributes, "hidden": _hidden()})
    pieces = {
        part: part_of(whole, body.faces[body.materials == part])
        for part in (parts.SKIN, parts.EYE, parts.TEETH, parts.TONGUE)
    }
    all_skin = _skin(pieces[parts.SKIN], look, fine)
    inner = (all_skin.values["hidden"][all_skin.faces] > 0.5).all(1)
    skin_mesh = part_of(all_skin, all_skin.faces[~inner])
    _tell_thin(skin_mesh, all_skin.vertices[np.unique(all_skin.faces[inner])])
    eye = refine(pieces[parts.EYE], lambda mesh: np.full(len(mesh.vertices), 0.25 * fine * MM))
    at = eye.values["own"][:, OWN][:, :2]
    meshes = {}
    if look.collar[SHIRT_COLLAR] > 0.5:
        meshes["collar"] = ("cloth", _collar(_cloth_of(posed.surfaces[2]), look, skin_mesh))
    return meshes | {
        "skin": ("skin", skin_mesh),
        "inside": ("skin", part_of(all_skin, all_skin.faces[inner])),
        "eyes": ("eye", Mesh(eye.vertices, eye.faces, {"albedo": linear(_eye_colour(at, look))})),
        "cornea": ("cornea", _cornea(eye, at)),
        "teeth": ("teeth", _painted(pieces[parts.TEETH], eyes.paint_teeth, 2 * fine)),
        "tongue": ("tongue", _painted(pieces[parts.TONGUE], eyes.paint_tongue, 2 * fine)),
        "shirt": ("cloth", _shirt(_cloth_of(shirt), look, skin_mesh)),
    }


def _hidden() -> np.ndarray:
    """[V] 1 where skin lines mouth and eye sockets: light that scatters in the face does not come out there."""
    labels = figure().labels
    return np.maximum(labels["mouth_inside"], labels["eye_socket"])


def _tell_thin(mesh: Mesh, lining: np.ndarray) -> None:
    """The value ``thin`` [V]: 1 near the lining [L, 3], in lips and lids. Light that goes under them would be lost."""
    thin = smoothstep(10.0, 4.0, cKDTree(lining).query(mesh.vertices)[0] / MM)
    mesh.values["thin"] = thin
    mesh.values["albedo"] *= 1.0 - thin[:, None] * np.array([0.06, 0.15, 0.17])  # as deep as where it comes back


def skin_samples(own: np.ndarray) -> skin.SkinSamples:
    """From attributes [P, NUM_ATTRIBUTES] of skin."""
    return skin.SkinSamples(own[:, WHERE], *own[:, OWN].T[:5])


def _skin(mesh: Mesh, look: Appearance, fine: float) -> Mesh:
    """Fine in the face; wrinkles are real."""
    high = mesh.values["own"][:, 1] > _LOWEST
    mesh = part_of(mesh, mesh.faces[high[mesh.faces].any(1)])

    def spacing(mesh: Mesh) -> np.ndarray:
        where = mesh.values["own"][:, WHERE]
        face = (where[:, 2] > -75) & (where[:, 1] > -95)
        return np.where(face, fine, np.where(where[:, 1] > -120, 3.5, 9.0)) * MM

    mesh = refine(mesh, spacing)
    own = mesh.values["own"]
    samples = skin_samples(own)
    if look.hair_length >= 0.10:  # strands cover it
        samples = samples._replace(scalp=0.5 * samples.scalp)
    paint = skin.paint_skin(samples, look, 1.5, hairs=0.4)
    vertices = mesh.vertices + mesh.normals() * (_GROOVE * np.clip(paint.bump, -0.5, 0.3))[:, None]
    values = {"albedo": linear(paint.albedo), "gloss": paint.gloss, "where": own[:, WHERE], "own": own}
    lips = smoothstep(0.25, 0.75, own[:, OWN][:, 0])
    return Mesh(vertices, mesh.faces, values | {"lips": lips, "hidden": mesh.values["hidden"]})


def _painted(mesh: Mesh, paint, spacing: float) -> Mesh:
    mesh = refine(mesh, lambda each: np.full(len(each.vertices), spacing * MM))
    return Mesh(mesh.vertices, mesh.faces, {"albedo": linear(paint(mesh.values["own"][:, WHERE]))})


def _eye_colour(at: np.ndarray, look: Appearance) -> np.ndarray:
    """sRGB [P, 3] of the eyeball without any light; ``at`` [P, 2] radians from the gaze."""
    angle, around = np.hypot(at[:, 0], at[:, 1]), np.arctan2(at[:, 1], at[:, 0])
    pink = smoothstep(0.5, 1.1, angle)[:, None]
    veins = smoothstep(0.5, 0.9, noise2(around * 5.0, angle * 6.0, 21)) * smoothstep(0.55, 0.85, angle)
    white = np.array([0.95, 0.935, 0.925]) - pink * [0.07, 0.20, 0.20] - (0.06 * veins)[:, None] * [0.4, 1.0, 1.0]
    ring = smoothstep(eyes.PUPIL, eyes.IRIS, angle)
    fibres = 0.28 * noise2(around * 12.0, angle * 6.0, 22) + 0.18 * noise2(around * 26.0, angle * 9.0, 23)
    collarette = np.exp(-(((ring - 0.25) / 0.16) ** 2))
    iris = look.iris * (1.35 + fibres + 0.30 * collarette)[:, None]
    iris = iris * (1 - 0.65 * smoothstep(0.70, 1.0, ring))[:, None]  # limbal ring
    colour = white + (iris - white) * smoothstep(eyes.IRIS * 1.09, eyes.IRIS * 0.94, angle)[:, None]
    return np.clip(colour * (1 - smoothstep(eyes.PUPIL * 1.12, eyes.PUPIL * 0.9, angle))[:, None] + 0.012, 0, 1)


def _cornea(eye: Mesh, at: np.ndarray) -> Mesh:
    """A clear film over the eyeball that bulges before the iris."""
    dome = np.clip(1.0 - (np.hypot(at[:, 0], at[:, 1]) / _CORNEA) ** 2, 0.0, 1.0)
    vertices = eye.vertices + eye.normals() * ((0.06 + 0.75 * dome) * MM)[:, None]
    return Mesh(vertices, eye.faces, {"glint": eyes.glint(at)})


def _shirt(mesh: Mesh, look: Appearance, skin_mesh: Mesh) -> Mesh:
    """Cut at the neckline, with a ribbed band that lies on the neck, folds, and an inner side."""
    striped = look.pattern > 0.5
    mesh = refine(mesh, lambda each: np.where(each.values["own"][:, 1] > -190, 5.0, 14.0) * MM)
    mesh = Mesh(_smoothed(mesh, 6), mesh.faces, mesh.values)
    mesh, _ = cut(mesh, clothes.neckline(mesh.values["own"][:, WHERE], look))
    width = clothes.band_width(look)
    if striped:
        mesh = refine(mesh, lambda each: np.full(len(each.vertices), 4.0 * MM))
    where = mesh.values["own"][:, WHERE]
    below = np.maximum(clothes.neckline(where, look), 0.0)
    albedo, bump, _ = clothes.paint_shirt(where, np.zeros(len(where)), look, 1.5)
    outwards, height = _over(mesh, skin_mesh)
    # The band lies on the neck; below it the cloth never dips into the skin.
    lying = smoothstep(width + 6.0, width - 12.0, below)
    wanted = np.where(height < 40 * MM, np.maximum(height * (1 - lying) + 2.0 * MM * lying, 3.2 * MM), height)
    vertices = mesh.vertices + outwards * (wanted - height)[:, None] * (height < 40 * MM)[:, None]
    folds = 2.6 * noise3(where * np.array([1.0, 0.6, 1.0]), 1 / 55.0, 33) + 1.2 * noise3(where, 1 / 26.0, 34)
    band = smoothstep(width + 0.5, width - 1.5, below)
    shape = folds * smoothstep(width - 3.0, width + 52.0, below)
    shape += 1.1 * band - 0.9 * np.exp(-(((below - width - 0.5) / 1.6) ** 2))
    roll = look.collar[TURTLENECK]  # folded over
    shape += 1.8 * roll * np.sqrt(smoothstep(0.0, 6.0, below) * band)
    shape = shape - 1.0 * smoothstep(3.0, 0.0, below)  # the edge is rolled
    shaped = Mesh(vertices, mesh.faces, {})
    vertices = vertices + shaped.normals() * (shape * MM)[:, None]
    values = {"albedo": linear(albedo), "where": where, "band": band, "around": _around(where)}
    return thicken(Mesh(vertices, mesh.faces, values), np.full(len(vertices), _CLOTH))


def _collar(mesh: Mesh, look: Appearance, skin_mesh: Mesh) -> Mesh:
    """The leaf of a shirt's collar, clear of the shirt that it lies on."""
    mesh = refine(mesh, lambda each: np.full(len(each.vertices), 4.0 * MM))
    mesh, _ = cut(Mesh(_smoothed(mesh, 6), mesh.faces, mesh.values), _leaf(mesh.values["own"], look))
    where = mesh.values["own"][:, WHERE]
    albedo, _, _ = clothes.paint_shirt(where, np.ones(len(where)), look, 1.5)
    outwards, height = _over(mesh, skin_mesh)
    wanted = 6.5 + 4.0 * smoothstep(0.0, 30.0, clothes.stand(where))  # it stands off where it ends
    vertices = mesh.vertices + outwards * np.clip(wanted * MM - height, 0.0, 12 * MM)[:, None]
    plain = np.zeros(len(where))
    values = {"albedo": linear(albedo), "where": where, "band": plain, "around": _around(where)}
    return thicken(Mesh(vertices, mesh.faces, values), np.full(len(vertices), 0.8 * _CLOTH))


def _leaf(own: np.ndarray, look: Appearance) -> np.ndarray:
    return clothes.collar_leaf(own[:, WHERE], look)


def _cloth_of(surface: Surface) -> Mesh:
    return part_of(Mesh(surface.vertices, surface.faces, {"own": surface.attributes}), surface.faces)


def _over(mesh: Mesh, skin_mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    """Normals [V, 3] of the nearest skin, and how far [V] over it a mesh lies."""
    near = cKDTree(skin_mesh.vertices).query(mesh.vertices)[1]
    outwards = skin_mesh.normals()[near]
    return outwards, ((mesh.vertices - skin_mesh.vertices[near]) * outwards).sum(1)


def _around(where: np.ndarray) -> np.ndarray:
    """mm [P] round the neck."""
    return np.arctan2(where[:, 0], where[:, 2] + 95.0) * 75.0


def _smoothed(mesh: Mesh, rounds: int) -> np.ndarray:
    """Vertices [V, 3] drawn half-way to the mean of their neighbours, but for the border."""
    a = np.concatenate([mesh.faces[:, i] for i in (0, 1, 2)])
    b = np.concatenate([mesh.faces[:, i] for i in (1, 2, 0)])
    count, vertices = np.bincount(a, minlength=len(mesh.vertices)), mesh.vertices
    key, back = a.astype(np.int64) * len(vertices) + b, b.astype(np.int64) * len(vertices) + a
    border = np.zeros(len(vertices), bool)
    border[np.concatenate([a[~np.isin(key, back)], b[~np.isin(key, back)]])] = True
    for _ in range(rounds):
        total = np.stack([np.bincount(a, vertices[b, axis], len(vertices)) for axis in range(3)], 1)
        mean = total / np.maximum(count, 1)[:, None]
        vertices = np.where(border[:, None], vertices, 0.5 * (vertices + mean))
    return vertices
