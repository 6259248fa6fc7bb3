"""`python -m training.release`: a trained model as one small file (training/run/release.py)."""

from torch_utils.misc import run_cli
from training.run.release import main

if __name__ == "__main__":
    run_cli(main)
