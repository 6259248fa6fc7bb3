"""How good a generator is.

- :mod:`distances`: Frechet and kernel distance of features, in closed form.
- :mod:`detectors`: the networks whose features are compared (2015 Inception, EfficientNet-Lite0, the open face's net).
- :mod:`pictures`: where pictures come from: data sets, folders, generators, and the true drawings of synthetic people.
- :mod:`features`: features of all pictures of a source, on disk, cached for real ones.
- :mod:`control`: whether the controls do what they are asked to (paper fig. 3 and 4); :mod:`actions`, :mod:`shoulders`
  and :mod:`recognition` are parts of it.
- :mod:`recon`: frames of one person against true ones, which :mod:`frames` finds; :mod:`lpips_distance`.
- :mod:`evaluation`: distances for one model and one data set; ``python -m training.metrics`` is the command of all,
  :mod:`reports` what it prints and writes.
"""
