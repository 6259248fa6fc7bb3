"""Light: a panorama, or a made-up studio where there is none, and a lamp."""

import math

import bpy
import numpy as np
from mathutils import Matrix, Vector

FACE = np.array([0.0, 0.25, 0.97])  # y up, z out of the face: what is exposed for
_LEVEL = 0.95  # irradiance over pi there, of sky and lamp together


def light(scene):
    """World and lamp of a scene: as bright for everybody where the face looks, wherever the light comes from."""
    sky, lamps = scene["sky"], scene["lights"]
    pixels = _panorama(scene["panorama"]) if scene["panorama"] else _studio()
    turn = _brightest(pixels) - _azimuth(sky["yaw"])
    level = _irradiance(pixels, turn)
    falls = [lamp["strength"] * max(float(np.dot(FACE, lamp["direction"])), 0.15) for lamp in lamps]
    scale = _LEVEL / (sky["strength"] + sum(falls))
    _world(pixels, turn, scale * sky["strength"] / level)
    for lamp in lamps:
        _lamp(lamp, scale)


def _azimuth(yaw):
    """Of a direction ``yaw`` from the front to the person's left, as panoramas count it (z up, faces look to -y)."""
    return math.atan2(-math.cos(yaw), math.sin(yaw))


def _panorama(path):
    """[H, W, 3] float32, the lowest row first."""
    image = bpy.data.images.load(path)
    width, height = image.size
    pixels = np.empty(width * height * 4, np.float32)
    image.pixels.foreach_get(pixels)
    bpy.data.images.remove(image)
    if not pixels.any():
        raise ValueError(f"{path}: not a panorama that Blender can read")
    # The sun itself would light faces with hard shadows and noise.
    pixels = np.nan_to_num(pixels.reshape(height, width, 4)[..., :3].clip(0, 1e4))
    bright = pixels.max(-1, keepdims=True)
    most = 40.0 * bright.mean()
    return pixels * np.minimum(1.0, most / np.maximum(bright, 1e-6))


def _studio():
    """A bright ceiling, a window before the person and a smaller one behind, light walls and a darker floor."""
    height, width = 128, 256
    up, around = _angles(height, width)
    wall = 0.55 + 0.5 * np.clip(up, 0, 1) - 0.3 * np.clip(-up, 0, 1)

    def window(azimuth, elevation, wide, high, level):
        aside = np.abs((around - azimuth + math.pi) % (2 * math.pi) - math.pi)
        edge = 1 / (1 + np.exp(np.clip((aside - wide) / 0.04, -40, 40)))
        return level * edge / (1 + np.exp(np.clip((np.abs(up - elevation) - high) / 0.04, -40, 40)))

    level = (
        wall + window(0.0, 0.55, 0.55, 0.35, 7.0) + window(2.5, 0.45, 0.3, 0.3, 3.0) + window(-2.2, 0.3, 0.2, 0.3, 2.0)
    )
    tint = 1 + 0.06 * np.clip(up, -1, 1)[..., None] * np.array([-1.0, 0.0, 1.0])
    return (level[..., None] * tint).astype(np.float32)


def _angles(height, width):
    """(sine of the elevation [H, W], azimuth [H, W]) of a panorama's pixels."""
    elevation = (np.arange(height) + 0.5) / height * math.pi - math.pi / 2
    azimuth = (0.5 - (np.arange(width) + 0.5) / width) * 2 * math.pi
    return np.broadcast_to(np.sin(elevation)[:, None], (height, width)), np.broadcast_to(azimuth, (height, width))


def _brightest(pixels):
    """Azimuth where most of the light above the horizon comes from."""
    up, around = _angles(*pixels.shape[:2])
    weight = pixels.sum(-1) ** 1.5 * np.sqrt(1 - up * up) * (up > -0.1)
    return float(np.angle((weight * np.exp(1j * around)).sum()))


def _irradiance(pixels, turn):
    """Mean of the three colours on FACE, over pi, where the panorama is turned by ``turn``."""
    up, around = _angles(*pixels.shape[:2])
    flat = np.sqrt(1 - up * up)
    x, y = flat * np.cos(around - turn), flat * np.sin(around - turn)
    facing = np.clip(FACE[0] * x + FACE[1] * up - FACE[2] * y, 0, None)  # z up: the face looks to -y
    area = flat * math.pi / pixels.shape[0] * 2 * math.pi / pixels.shape[1]
    return float((pixels.mean(-1) * facing * area).sum() / math.pi)


def _world(pixels, turn, strength):
    height, width = pixels.shape[:2]
    image = bpy.data.images.new("panorama", width, height, float_buffer=True)
    image.pixels.foreach_set(np.concatenate([pixels, np.ones((height, width, 1), np.float32)], -1).ravel())
    world = bpy.data.worlds.new("world")
    if not world.node_tree:
        world.use_nodes = True
    bpy.context.scene.world = world
    nodes, links = world.node_tree.nodes, world.node_tree.links
    nodes.clear()
    place, mapping, texture, background, output = (
        nodes.new(f"ShaderNode{kind}")
        for kind in ("TexCoord", "Mapping", "TexEnvironment", "Background", "OutputWorld")
    )
    texture.image = image
    mapping.vector_type = "POINT"
    to_z_up = Matrix.Rotation(turn, 3, "Z") @ Matrix.Rotation(math.pi / 2, 3, "X")
    mapping.inputs["Rotation"].default_value = to_z_up.to_euler()
    background.inputs["Strength"].default_value = strength
    links.new(place.outputs["Generated"], mapping.inputs["Vector"])
    links.new(mapping.outputs["Vector"], texture.inputs["Vector"])
    links.new(texture.outputs["Color"], background.inputs["Color"])
    # The camera itself sees white.
    ray, white, mix = (nodes.new(f"ShaderNode{kind}") for kind in ("LightPath", "Background", "MixShader"))
    white.inputs["Color"].default_value = (1, 1, 1, 1)
    links.new(ray.outputs["Is Camera Ray"], mix.inputs[0])
    links.new(background.outputs["Background"], mix.inputs[1])
    links.new(white.outputs["Background"], mix.inputs[2])
    links.new(mix.outputs[0], output.inputs["Surface"])


def _lamp(lamp, scale, distance=2.4, size=1.1):
    """A soft box; its strength is the irradiance over pi that it makes straight before it."""
    data = bpy.data.lights.new("lamp", "AREA")
    data.shape, data.size = "DISK", size
    # A disk of radiance L makes L pi r^2 / (r^2 + d^2) on its axis; its power is L pi A.
    radius = size / 2
    radiance = lamp["strength"] * scale * math.pi * (radius**2 + distance**2) / (math.pi * radius**2)
    data.energy = radiance * math.pi * math.pi * radius**2
    data.color = lamp["colour"]
    place = bpy.data.objects.new("lamp", data)
    direction = Vector(lamp["direction"])
    place.location = direction * distance
    place.rotation_mode = "QUATERNION"
    place.rotation_quaternion = direction.to_track_quat("Z", "Y")
    bpy.context.scene.collection.objects.link(place)
