"""Gaussian avatars of one actor (Animatable Gaussians, Li et al., CVPR 2024): maps of Gaussians on a body, made from
its pose by StyleGAN-like nets, skinned and splatted."""
