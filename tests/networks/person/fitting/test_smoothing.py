"""Courses of many numbers at once are those of the whole least squares; the one-euro filter calms and follows."""

import numpy as np
import pytest

from networks.person.fitting.smoothing import OneEuro, together


def test_a_course_solves_its_least_squares():
    rng, (count, width) = np.random.default_rng(0), (7, 3)
    root, slope = rng.standard_normal((count, width, width)), rng.standard_normal((count, width))
    matrix = root @ root.transpose(0, 2, 1)
    matrix[2], slope[2] = 0, 0  # a gap
    acceleration, speed = np.array([0.5, 1.0, 2.0]), np.array([1.0, 2.0, 3.0])
    whole = np.zeros((count * width, count * width))
    for frame in range(count):
        whole[frame * width :, frame * width :][:width, :width] = matrix[frame]
    for order, deviation in ((1, speed), (2, acceleration)):
        differences = np.diff(np.eye(count), order, axis=0)
        whole += np.kron(differences.T @ differences, np.diag(deviation**-2.0))
    found = together(matrix, slope, acceleration, speed)
    np.testing.assert_allclose(found.ravel(), np.linalg.solve(whole, slope.ravel()), rtol=0, atol=1e-12)


def test_what_is_seen_in_sum_is_told_apart_by_how_it_moves():
    time = np.arange(150) / 25
    slow, quick = 0.3 * np.sin(2 * np.pi * time / 6), 0.2 * np.sin(2 * np.pi * time)
    matrix = np.tile(1e4 * np.ones((2, 2)) + np.diag([10.0, 60.0]), (150, 1, 1))
    found = together(matrix, 1e4 * np.repeat((slow + quick)[:, None], 2, 1), np.array([1.5, 6]) / 625, np.full(2, 1.0))
    np.testing.assert_allclose(found.sum(1), slow + quick, rtol=0, atol=0.01)
    assert np.abs(found[25:-25, 0] - slow[25:-25]).mean() < 0.05 < np.abs(slow).mean() / 3


def test_courses_keep_to_their_bounds():
    rng, (count, width) = np.random.default_rng(3), (6, 2)
    root = rng.standard_normal((count, width, width))
    matrix, slope = root @ root.transpose(0, 2, 1) + np.eye(width), 3 * rng.standard_normal((count, width))
    motion = np.full(width, 0.7), np.full(width, 2.0)
    found = together(matrix, slope, *motion, bounds=(0.0, 1.0))
    assert found.min() == 0 and found.max() == 1 and ((found > 0) & (found < 1)).any()

    def cost(x):
        moved = [(np.diff(x, order, axis=0) ** 2).sum() / s[0] ** 2 for order, s in zip((2, 1), motion, strict=True)]
        return (np.einsum("fc,fcd,fd->", x, matrix, x) + sum(moved)) / 2 - (slope * x).sum()

    for _ in range(200):  # nothing near within the bounds is better
        assert cost((found + 0.05 * rng.standard_normal(found.shape)).clip(0, 1)) > cost(found)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_short_courses(count):
    matrix, slope = np.tile(np.eye(2), (count, 1, 1)), np.tile([0.3, -0.2], (count, 1))
    found = together(matrix, slope, np.ones(2), np.ones(2))
    np.testing.assert_allclose(found, slope, rtol=0, atol=1e-12)  # nothing moves


def test_one_euro_by_hand():
    smooth = OneEuro(still=1.0, eager=0.0)
    assert smooth(np.array([2.0]), 0.0) == 2.0
    share = 1 / (1 + 1 / (2 * np.pi * 0.1))
    np.testing.assert_allclose(smooth(np.array([3.0]), 0.1), 2 + share)
    smooth.forget()
    assert smooth(np.array([7.0]), 0.2) == 7.0


def test_one_euro_calms_what_is_still_and_follows_what_moves():
    rng, smooth = np.random.default_rng(0), OneEuro(still=1.0, eager=4.0)
    noisy = 0.02 * rng.standard_normal(200)
    calm = np.array([smooth(np.array([value]), i / 25)[0] for i, value in enumerate(noisy)])
    assert calm[50:].std() < 0.5 * noisy[50:].std()
    smooth.forget()
    step = [smooth(np.array([float(i >= 5)]), i / 25)[0] for i in range(15)]
    assert step[7] > 0.8  # three frames after a jump
