"""Operators with compiled implementations: ``<op>.py`` is the public function, ``<op>_ref.py`` the same in plain torch,
``csrc/<op>.h`` the core that the C++ and the CUDA build share."""
