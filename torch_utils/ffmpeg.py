"""The ffmpeg program, which reads and writes videos."""

import shutil

from torch_utils.misc import UserError


def find_ffmpeg(what: str, otherwise: str = "") -> str:
    """Path of the ffmpeg program.

    Args:
        what: needs it, and ``otherwise``: what could be done without it, for the message.

    Raises:
        UserError: there is none.
    """
    problem = f"{what} needs ffmpeg, which was not found; install imageio-ffmpeg or ffmpeg{otherwise}"
    try:
        import imageio_ffmpeg  # here: it looks for the program when it is imported

        exe = imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError, OSError) as error:
        raise UserError(problem) from error
    if shutil.which(exe) is None:
        raise UserError(f"{problem} (tried {exe})")
    return exe
