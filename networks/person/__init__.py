"""Who is shown and how they move: body, face, skinning, D^p, D^e, controls, priors, tracking."""
