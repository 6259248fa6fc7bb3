"""`python -m training.report`: one HTML page of a run (training/run/report.py)."""

from torch_utils.misc import run_cli
from training.run.report import main

if __name__ == "__main__":
    run_cli(main)
