"""Files that trackers write: SMPL fits, Deep3DFaceRecon coefficients, 5-point landmarks. Nothing in them is executed.

**SMPL fits** (:class:`SmplFits`) come as one file for many photos or frames, or as a folder with a file a photo.
``layouts.py`` knows how the programs lay their files out, ``record.py`` what the numbers of one person are called and
mean. docs/data.md has the table of programs, their commands and the options that go with them.

**Face coefficients**: ``NAME.mat`` as Deep3DFaceRecon writes them, with ``id`` [1, 80], ``exp`` [1, 64], ``angle``
[1, 3] (radians) and ``trans`` [1, 3], or all in ``coeff`` [1, 257]. **Landmarks**: ``NAME.txt``, five lines ``x y`` in
pixels of the photo: the eye on the picture's left, the other eye, the nose, the corner of the mouth on the left, the
other one.
"""

from networks.person.tracking_files.face import bfm_frame, load_face_fit, load_five_points
from networks.person.tracking_files.fits import SmplFits, add_fit_options, open_fits

__all__ = ["SmplFits", "add_fit_options", "bfm_frame", "load_face_fit", "load_five_points", "open_fits"]
