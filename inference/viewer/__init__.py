"""A page to play with, on this machine: ``python -m inference.viewer``.

controls.py   the sliders, and what they move
messages.py   what the page sends and gets: shots, keyframe files, motions
studio.py     people and pictures, made in threads of their own
server.py     the web application: one websocket of live frames, a few requests, who may ask
page/         the page: HTML, CSS and JavaScript, with nothing from elsewhere
"""
