"""From a checkpoint and keyframes to frames and files; never imported by `training`."""
