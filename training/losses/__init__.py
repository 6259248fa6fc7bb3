"""The losses, each a plain function of tensors, in a file found by its equation in the paper.

| equation | loss | file |
|---|---|---|
| 8 | non-saturating or relativistic GAN loss, R1, R2, camera regression | adversarial.py |
| 9 | landmarks of the generated face | landmarks.py |
| 10 | imitation of the morphable face's displacements | imitation.py (nearest vertices: vertex_tree.py) |
| 11 | smoothness of the pose deformation | pose_smooth.py |
| 12, 13 | smoothness and smallness of the expression deformation | expression_field.py |
| none | mean opacity over all rays and manifolds | in training/phases.py: a mean |
| stage 2 | consistency with the low resolution | consistency.py |

All are means over the batch, so that losses of equal micro-batches average to the loss of the whole one. Their weights
come from the run's configuration.
"""
