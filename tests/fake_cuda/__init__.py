"""A rehearsal of CUDA without CUDA: a runtime that computes nothing, under torch's real CUDA build.

    python -m tests.fake_cuda run frames                # one scene: what it waits for and starts, by line of code
    python -m tests.fake_cuda nightly                   # all scenes; make cuda-rehearsal
    python -m tests.fake_cuda renew                     # measure all scenes and write limits.json
    python -m tests.fake_cuda python -c '...'           # anything else, with a fake GPU

``runtime.cpp`` and ``stubs.py`` are the runtime, ``build.py`` makes it, ``watch.py`` counts within a process,
``frames.py`` and ``scenes.py`` are what is rehearsed, and ``test_rehearsal.py`` holds it to ``limits.json``.
"""
