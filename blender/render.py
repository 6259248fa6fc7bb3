"""Renders scenes of ``python -m training.data synthesize --renderer cycles`` with Blender's Cycles.

Runs in a Python environment of its own that has Blender's module ``bpy`` (GPL-3), and imports nothing of the project:
it reads scenes from files (training/data/cycles/exchange.py says what is in them) and writes pictures. To every line on
standard input, the path of a scene without its suffix, it answers a line of JSON on standard output: ``{"ok": PATH}``
or ``{"error": TEXT}``. Of camera CAMERA it leaves ``PATH.CAMERA.png`` (RGB, white behind the person),
``PATH.CAMERA.mask.png`` (alpha: the person) and, with ``"maps": true``, ``PATH.CAMERA.npz``.
"""

import json
import math
import os
import sys
import tempfile

import bpy
import numpy as np
from mathutils import Matrix

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import materials
import sky

FORMAT = 1


def main():
    """Serve scenes until standard input ends."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Blender and its libraries talk on standard output
    for line in sys.stdin:
        path = line.rstrip("\n")
        try:
            render(path)
            reply = {"ok": path}
        except Exception as error:  # whatever it is, the one who asked shall know
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), file=replies, flush=True)


def render(path):
    """Render all cameras of a scene."""
    with open(f"{path}.json", encoding="utf-8") as file:
        scene = json.load(file)
    if scene["format"] != FORMAT:
        raise ValueError(f"expected a scene of format {FORMAT}, found {scene['format']}")
    with np.load(f"{path}.npz", allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    bpy.ops.wm.read_factory_settings(use_empty=True)
    made = {kind: make(scene["mm"]) for kind, make in materials.MAKERS.items()}
    for name, material in scene["meshes"].items():
        add_mesh(name, _of(arrays, f"mesh/{name}/"), made[material])
    for name, material in scene["strands"].items():
        add_strands(name, _of(arrays, f"strands/{name}/"), made[material])
    sky.light(scene)
    film = settings(scene)
    for name, camera in scene["cameras"].items():
        look_through(camera)
        film.render.filepath = f"{path}.{name}.png"
        bpy.ops.render.render(write_still=True)
    measure(path, scene, film)


def _of(arrays, prefix):
    return {key[len(prefix) :]: value for key, value in arrays.items() if key.startswith(prefix)}


def add_mesh(name, arrays, material):
    """A smooth mesh with its values as attributes of its points."""
    vertices, faces = arrays.pop("vertices"), arrays.pop("faces")
    mesh = bpy.data.meshes.new(name)
    mesh.vertices.add(len(vertices))
    mesh.vertices.foreach_set("co", vertices.ravel())
    mesh.loops.add(faces.size)
    mesh.loops.foreach_set("vertex_index", faces.ravel())
    mesh.polygons.add(len(faces))
    mesh.polygons.foreach_set("loop_start", np.arange(0, faces.size, 3, dtype=np.int32))
    mesh.polygons.foreach_set("use_smooth", np.ones(len(faces), bool))
    mesh.update(calc_edges=True)
    for key, value in arrays.items():
        kind = "FLOAT_VECTOR" if value.ndim == 2 else "FLOAT"
        field = "vector" if value.ndim == 2 else "value"
        mesh.attributes.new(key, kind, "POINT").data.foreach_set(field, value.ravel())
    mesh.materials.append(material)
    bpy.context.scene.collection.objects.link(bpy.data.objects.new(name, mesh))


def add_strands(name, arrays, material):
    """Curves with a radius at every point and a colour each."""
    count, knots = arrays["points"].shape[:2]
    curves = bpy.data.hair_curves.new(name)
    curves.add_curves([knots] * count)
    curves.attributes["position"].data.foreach_set("vector", arrays["points"].ravel())
    radius = curves.attributes.get("radius") or curves.attributes.new("radius", "FLOAT", "POINT")
    radius.data.foreach_set("value", arrays["radius"].ravel())
    colour = curves.attributes.new("albedo", "FLOAT_VECTOR", "CURVE")
    colour.data.foreach_set("vector", arrays["colour"].ravel())
    curves.materials.append(material)
    bpy.context.scene.collection.objects.link(bpy.data.objects.new(name, curves))


def settings(scene):
    """Cycles as the scene asks for it."""
    film = bpy.context.scene
    film.render.engine = "CYCLES"
    cycles = film.cycles
    cycles.device, cycles.samples, cycles.seed = "CPU", scene["samples"], scene["seed"] % 2**31
    cycles.use_denoising, cycles.denoiser = True, "OPENIMAGEDENOISE"
    cycles.use_adaptive_sampling, cycles.adaptive_threshold, cycles.adaptive_min_samples = True, 0.02, 6
    cycles.denoising_input_passes = "RGB_ALBEDO_NORMAL"
    cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces, cycles.transmission_bounces = 8, 2, 4, 6
    cycles.transparent_max_bounces, cycles.caustics_reflective, cycles.caustics_refractive = 6, False, False
    cycles.sample_clamp_indirect = 4.0
    film.cycles_curves.shape, film.cycles_curves.subdivisions = "RIBBONS", 2
    film.render.threads_mode, film.render.threads = "FIXED", scene["threads"]
    film.render.use_persistent_data = True
    film.render.film_transparent = False
    cycles.pixel_filter_type, cycles.filter_width = "BLACKMAN_HARRIS", 1.3
    film.render.image_settings.file_format = "PNG"
    film.render.image_settings.color_mode, film.render.image_settings.color_depth = "RGB", "8"
    film.render.image_settings.compression = 15
    film.view_settings.view_transform, film.view_settings.look = "Standard", "None"
    return film


def measure(path, scene, film):
    """Masks, and if asked for depth along the optical axis and normals in the camera's axes at the centres of pixels.

    Everything glows by what is measured, so that a ray ends where it hits; the mask is filtered like the picture.
    """
    cycles, layer = film.cycles, film.view_layers[0]
    cycles.use_adaptive_sampling, cycles.use_denoising, cycles.max_bounces = False, False, 0
    film.render.film_transparent = True
    for name, camera in scene["cameras"].items():
        look_through(camera)
        layer.material_override = materials.glow("depth")
        film.render.image_settings.color_mode = "RGBA"
        film.render.filepath = f"{path}.{name}.mask.png"
        bpy.ops.render.render(write_still=True)
        if scene["maps"]:
            depth = at_centres(f"{path}.{name}.depth.exr", film, "depth", camera["size"])
            normals = at_centres(f"{path}.{name}.normals.exr", film, "normals", camera["size"])
            normals, hit = normals[..., :3] @ np.array(camera["rotation"], np.float32), depth[..., 3] > 0.5
            length = np.linalg.norm(normals, axis=-1)
            hit &= length > 0.5
            normals = np.where(hit[..., None], normals / np.maximum(length, 1e-6)[..., None], 0)
            np.savez(f"{path}.{name}.npz", depth=np.where(hit, depth[..., 0], 0), normals=normals)


def at_centres(path, film, kind, size):
    """[size, size, 4] of one sample at the centre of every pixel."""
    cycles, image = film.cycles, film.render.image_settings
    before = cycles.samples, cycles.filter_width, image.file_format, image.color_depth
    cycles.samples, cycles.filter_width, image.file_format, image.color_depth = 1, 0.01, "OPEN_EXR", "32"
    film.view_layers[0].material_override, film.render.filepath = materials.glow(kind), path
    bpy.ops.render.render(write_still=True)
    cycles.samples, cycles.filter_width, image.file_format, image.color_depth = before
    return read_floats(path, size)


def read_floats(path, size):
    """[size, size, 4] of an EXR file, the topmost row first."""
    image = bpy.data.images.load(path)
    image.colorspace_settings.name = "Non-Color"
    pixels = np.empty(size * size * 4, np.float32)
    image.pixels.foreach_get(pixels)
    bpy.data.images.remove(image)
    os.remove(path)
    return pixels.reshape(size, size, 4)[::-1]


def look_through(camera):
    """Half a pixel lies beyond the centres of the outermost ones, which ``tangent`` reaches."""
    film, size = bpy.context.scene, camera["size"]
    film.render.resolution_x = film.render.resolution_y = size
    film.render.resolution_percentage = 100
    lens = bpy.data.cameras.new("camera")
    lens.sensor_fit, lens.lens_unit = "HORIZONTAL", "FOV"
    lens.angle = 2 * math.atan(camera["tangent"] * size / (size - 1))
    lens.clip_start, lens.clip_end = 0.05, 20.0
    place = bpy.data.objects.new("camera", lens)
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = camera["rotation"], camera["origin"]
    place.matrix_world = Matrix(matrix.tolist())
    film.collection.objects.link(place)
    film.camera = place


if __name__ == "__main__":
    tempfile.tempdir = os.environ.get("TMPDIR")
    main()
