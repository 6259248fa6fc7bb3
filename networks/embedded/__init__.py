"""The embedded body and face: made by our own code, in the array layouts of SMPL and of the Basel face model.

SMPL and the Basel face model may not be redistributed; these two stand in for them. Nothing is read from files and
importing does no work: `body.build_body()` and `face.build_face()` make everything, deterministically.

    frames.py    joints, tree, the T-pose, head-upright and canonical frames
    sdf.py       distance primitives, smooth unions, projection and ray casting
    head.py      the head's surface;  figure.py  neck, torso and limbs
    mesh.py      surface nets, normals;  body.py, skinning.py, shaping.py  the body's arrays
    face_layout.py, face_parts.py  the face mesh;  face_fields.py, face_identity.py, face_expression.py  its bases
    face.py      the face's arrays and labels
"""
