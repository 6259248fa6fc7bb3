"""`python -m training.history`: how a model came to be, as one picture (training/run/history.py)."""

from torch_utils.misc import run_cli
from training.run.history import main

if __name__ == "__main__":
    run_cli(main)
