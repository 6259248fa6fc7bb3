"""What every other package may lean on: errors, files, configuration and checkpoints."""
