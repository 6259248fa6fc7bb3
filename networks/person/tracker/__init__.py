"""From pictures of people to landmarks in pixels, by small detectors that need no registration.

model_files.py  the detectors: where their files come from, how they are checked and run
crops.py        turned square parts of a picture, and points in them
detection.py    where faces and bodies are;  landmarks.py  their points
follow.py       one person from picture to picture: Tracker, track
"""
