"""How good a generator is.

- :mod:`distances`: Frechet and kernel distance of features, in closed form.
- :mod:`detectors`: the networks whose features are compared (2015 Inception, or the open face's attribute net).
- :mod:`pictures`: where pictures come from: data sets, folders, generators, and the true drawings of synthetic people.
- :mod:`features`: features of all pictures of a source, on disk, cached for real ones.
- :mod:`control`: whether the controls do what they are asked to (paper fig. 3 and 4).
- :mod:`evaluation`: all of it for one model and one data set; ``python -m training.metrics`` is its command.
"""
