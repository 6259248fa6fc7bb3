"""The drawn people as scenes for Blender's Cycles: finer meshes, strands of hair, light; handed over in files.

Nothing here imports Blender. ``blender/`` does, in a Python environment of its own.
"""
