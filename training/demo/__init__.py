"""The demo model: the generator fitted by plain reconstruction to synthetic portraits (no adversary)."""
