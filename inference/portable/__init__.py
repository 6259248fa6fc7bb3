"""People who leave the program: layered meshes with a skeleton and expressions, for any engine."""
