"""Training of Gaussian avatars: of one actor from many views, or of a generated person."""
