"""Fitting and training of the generator; never imported by `inference`."""
