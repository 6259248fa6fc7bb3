"""Tests, mirroring the packages; a package, so that a stray `tests` in site-packages (some wheels bring one) loses."""
