"""Materials of people. Attributes of meshes and strands bring the colours; what is finer than them is procedural."""

import bpy


class _Tree:
    """A material's nodes, by the calls that a material reads as."""

    def __init__(self, name):
        self.material = bpy.data.materials.new(name)
        if not self.material.node_tree:
            self.material.use_nodes = True
        self.nodes, self.links = self.material.node_tree.nodes, self.material.node_tree.links
        self.nodes.clear()
        self.output = self.nodes.new("ShaderNodeOutputMaterial")

    def node(self, kind, settings=None, **inputs):
        """A node; inputs by name with underscores, numbers or sockets."""
        node = self.nodes.new(f"ShaderNode{kind}")
        for key, value in (settings or {}).items():
            setattr(node, key, value)
        for key, value in inputs.items():
            self.connect(node.inputs[key.replace("_", " ")], value)
        return node

    def connect(self, socket, value):
        """A socket from another, or a constant."""
        if isinstance(value, bpy.types.NodeSocket):
            self.links.new(value, socket)
        else:
            socket.default_value = value

    def attribute(self, name, output="Vector"):
        return self.node("Attribute", {"attribute_name": name}).outputs[output]

    def math(self, operation, a, b):
        node = self.node("Math", {"operation": operation})
        self.connect(node.inputs[0], a)
        self.connect(node.inputs[1], b)
        return node.outputs[0]

    def noise(self, where, scale, detail=2.0):
        return self.node("TexNoise", Vector=where, Scale=scale, Detail=detail).outputs[0]

    def bump(self, height, distance, strength=1.0):
        return self.node("Bump", Height=height, Distance=distance, Strength=strength).outputs[0]

    def done(self, surface):
        self.links.new(surface, self.output.inputs["Surface"])
        return self.material


def skin(mm):
    """Light scatters under it, red farthest; pores and fine creases break the highlights."""
    t = _Tree("skin")
    where = t.attribute("where")  # mm
    pores = t.node("TexVoronoi", {"feature": "F1"}, Vector=where, Scale=0.75).outputs["Distance"]
    creases = t.noise(where, 0.55, 4.0)
    height = t.math("ADD", t.math("MULTIPLY", pores, 0.6), t.math("MULTIPLY", creases, 0.9))
    lips, gloss = t.attribute("lips", "Fac"), t.attribute("gloss", "Fac")
    uneven = t.math("MULTIPLY", t.noise(where, 0.09), 0.14)
    rough = t.math("SUBTRACT", t.math("ADD", 0.48, uneven), t.math("MULTIPLY", gloss, 0.22))
    shader = t.node(
        "BsdfPrincipled",
        {"subsurface_method": "RANDOM_WALK"},
        Base_Color=t.attribute("albedo"),
        Roughness=t.math("SUBTRACT", rough, t.math("MULTIPLY", lips, 0.08)),
        Specular_IOR_Level=0.5,
        Subsurface_Weight=t.math("SUBTRACT", 1.0, t.attribute("thin", "Fac")),
        Subsurface_Radius=(1.0, 0.36, 0.19),
        Subsurface_Scale=1.7 * mm,
        Normal=t.bump(height, 0.22 * mm, 0.8),
    )
    return t.done(shader.outputs[0])


def eye(mm):
    t = _Tree("eye")
    shader = t.node(
        "BsdfPrincipled",
        Base_Color=t.attribute("albedo"),
        Roughness=0.45,
        Specular_IOR_Level=0.2,
        Subsurface_Weight=0.35,
        Subsurface_Radius=(1.0, 0.5, 0.3),
        Subsurface_Scale=0.8 * mm,
        Emission_Color=t.attribute("albedo"),
        Emission_Strength=0.14,  # the film of tears leads light under the lids
    )
    return t.done(shader.outputs[0])


def cornea(mm):
    """Clear, but for what it reflects, more than true ones do: light goes straight through, so that the iris is lit."""
    t = _Tree("cornea")
    facing = t.node("Fresnel", IOR=1.6).outputs[0]
    mirror = t.node("BsdfGlossy", Roughness=0.03).outputs[0]
    clear = t.node("BsdfTransparent").outputs[0]
    mix = t.node("MixShader")
    for socket, value in zip(mix.inputs, (facing, clear, mirror), strict=True):
        t.connect(socket, value)
    # The lamp in the eye: few samples find so small a mirror image.
    lamp = t.node("Emission", Color=(1.0, 1.0, 1.0, 1.0), Strength=0.9).outputs[0]
    lit = t.node("MixShader")
    for socket, value in zip(lit.inputs, (t.attribute("glint", "Fac"), mix.outputs[0], lamp), strict=True):
        t.connect(socket, value)
    return t.done(lit.outputs[0])


def teeth(mm):
    t = _Tree("teeth")
    shader = t.node(
        "BsdfPrincipled",
        Base_Color=t.attribute("albedo"),
        Roughness=0.22,
        Subsurface_Weight=0.5,
        Subsurface_Radius=(1.0, 0.8, 0.6),
        Subsurface_Scale=1.0 * mm,
    )
    return t.done(shader.outputs[0])


def tongue(mm):
    t = _Tree("tongue")
    wet = t.bump(t.noise(t.node("NewGeometry").outputs["Position"], 0.9 / mm), 0.3 * mm, 0.5)
    shader = t.node("BsdfPrincipled", Base_Color=t.attribute("albedo"), Roughness=0.32, Normal=wet)
    return t.done(shader.outputs[0])


def cloth(mm):
    """Jersey: a weave too fine to see but for how it takes the light, ribs in the band."""
    t = _Tree("cloth")
    where, band = t.attribute("where"), t.attribute("band", "Fac")
    weave = t.noise(where, 1.1, 3.0)
    ribs = t.math("SINE", t.math("MULTIPLY", t.attribute("around", "Fac"), 2.0), 0.0)
    height = t.math("ADD", weave, t.math("MULTIPLY", ribs, t.math("MULTIPLY", band, 0.8)))
    shader = t.node(
        "BsdfPrincipled",
        Base_Color=t.attribute("albedo"),
        Roughness=0.88,
        Specular_IOR_Level=0.2,
        Sheen_Weight=0.25,
        Sheen_Roughness=0.4,
        Normal=t.bump(height, 0.35 * mm, 0.8),
    )
    return t.done(shader.outputs[0])


def hair(mm):
    """Chiang and others, 2016."""
    t = _Tree("hair")
    shader = t.node(
        "BsdfHairPrincipled",
        {"parametrization": "COLOR"},
        Color=t.attribute("albedo"),
        Roughness=0.34,
        Radial_Roughness=0.45,
        IOR=1.55,
        Random_Roughness=0.1,
    )
    return t.done(shader.outputs[0])


def core(mm):
    t = _Tree("core")
    shader = t.node("BsdfPrincipled", Base_Color=t.attribute("albedo"), Roughness=0.9, Specular_IOR_Level=0.1)
    return t.done(shader.outputs[0])


def glow(kind):
    """What is measured instead of seen: the distance along the optical axis, or the normal in the world."""
    t = _Tree(kind)
    node, output = {"depth": ("CameraData", "View Z Depth"), "normals": ("NewGeometry", "Normal")}[kind]
    return t.done(t.node("Emission", Color=t.node(node).outputs[output], Strength=1.0).outputs[0])


MAKERS = {
    "skin": skin, "eye": eye, "cornea": cornea, "teeth": teeth, "tongue": tongue, "cloth": cloth, "hair": hair,
    "core": core,
}  # fmt: skip
