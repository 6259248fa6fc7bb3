"""The open body and face fitted to what a tracker sees (networks/person/tracker), of anybody.

points.py    points of the body: linear in who it is and in the expression, then skinned
frames.py    what differs from frame to frame, where that puts points in the picture, and the derivatives of it
priors.py    what is known before;  measured.py  what the tracker's landmarks say, and how surely
solve.py     least squares with bounds;  fit.py  a person, and what every frame shows of them;  start.py  where to begin
shape_map.py what a fitted shape says of the true one;  person.py  who it is
video.py     a whole video, smooth (smoothing.py);  live.py  picture by picture
"""
