"""Frames in a fraction of the time, by interpolating what is smooth."""
