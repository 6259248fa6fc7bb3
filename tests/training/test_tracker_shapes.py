"""What fitted shapes say of true ones: found again where it is known, as shipped, and of people who are looked at."""

import numpy as np
import pytest
import torch

from networks.person.face_recon import FACE_RECON_FILE, load_face_recon
from networks.person.fitting.measured import landmarks_of
from networks.person.fitting.points import open_body_model, surface_points
from networks.person.fitting.priors import priors
from networks.person.fitting.shape_map import PATH, read_shape_maps, write_shape_maps
from networks.person.open_body.storage import read_open_body
from networks.person.tracker.surface import read_landmark_points
from networks.person.tracking import MILLIMETRES
from tests.networks.person.tracker.detectors import needs_detectors
from torch_utils.misc import UserError
from training.data.synthetic import sample_identity
from training.tracker_people import SIZE, looks
from training.tracker_shapes import Fitted, errors, fit_all, read_map, shape_map


def people_shapes(count):
    people = [sample_identity(np.random.default_rng([5, number])) for number in range(count)]
    return np.stack([np.concatenate([who.z_id, who.betas]) for who in people]).astype(np.float64)


def test_a_map_is_found_again():
    """Fits that shrink people by half: a ridge of 10 beside 1,080 fits (those of other people) that vary by half a
    deviation leaves 10 / (1080 / 4) of a shape, that is 7 % of the lost half; more where adults hardly differ."""
    true = people_shapes(400)
    found = 0.5 * true + 0.2
    read = np.full((1200, 80), np.nan)
    read[:400] = true[:, :80] - 0.1
    fitted = Fitted(
        np.tile(np.arange(400), 3), np.repeat([1, 4, 10], 400), np.tile(found, (3, 1)), read, np.tile(true, (3, 1))
    )
    mapped = shape_map(fitted)(torch.from_numpy(found[7])).numpy()
    assert np.abs(mapped - true[7]).mean() < 0.12 * np.abs(found[7] - true[7]).mean()
    before, after, unread = errors(fitted.rows(fitted.pictures == 4), fitted)
    assert after < 0.12 * before and np.isnan(unread)


def test_readings_say_more_than_fits_alone():
    """Fits that know nothing beside readings that miss by half a standard deviation of chance: what is best then
    leaves sqrt(0.2) of the mean person's error; noise of 400 fits adds to it."""
    true, chance = people_shapes(400), np.random.default_rng(0)
    spread = true.std(0)
    found, read = (
        np.array(values) + chance.standard_normal(true.shape) * size
        for values, size in ((np.tile(true.mean(0), (400, 1)), spread), (true, 0.5 * spread))
    )
    fitted = Fitted(np.arange(400), np.ones(400), found, read[:, :80], true)
    _, by_fits, by_reading = errors(fitted, fitted)
    assert by_reading < 0.6 * by_fits
    assert read_map(fitted).matrix.shape == (90, 170)


def test_files_come_back(tmp_path):
    write_shape_maps(read_shape_maps(), tmp_path / "a.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == PATH.read_bytes()
    with pytest.raises(UserError, match="missing; expected what fitted shapes say"):
        read_shape_maps(tmp_path / "none.safetensors")
    (tmp_path / "b.safetensors").write_bytes((PATH.parent / "tracked_actions.safetensors").read_bytes())
    with pytest.raises(UserError, match="b.safetensors: expected what fitted shapes say on"):
        read_shape_maps(tmp_path / "b.safetensors")


def test_what_is_shipped_leaves_the_mean_person_and_adds_to_others():
    """Fits are drawn to the mean person. Who is fitted as that one is it, to the millimetre by which
    fits err on everybody alike; the map leads others away from it,
    on the whole to the side to which people differ."""
    maps, true = read_shape_maps(), people_shapes(40)
    shapes = maps.fitted
    mean = priors().shape_mean.numpy()
    basis = surface_points(open_body_model(), read_open_body().landmarks[:, None], np.ones((68, 1))).shape_basis.numpy()
    still = shapes(priors().shape_mean).numpy() - mean
    assert np.linalg.norm(np.einsum("nck,k->nc", basis, still), axis=1).mean() * MILLIMETRES < 1
    added = np.stack([shapes(torch.from_numpy(mean + 0.2 * (one - mean))).numpy() for one in true]) - mean
    moved, wanted = (np.einsum("nck,sk->snc", basis, change) for change in (added, true - mean))
    assert (moved * wanted).sum() > 0.15 * (wanted**2).sum()
    read = torch.from_numpy(true[:, :80])  # readings of a calm mean fit lead the whole way's better part
    shown = np.stack([maps.read(priors().shape_mean, one).numpy() for one in read]) - mean
    moved = np.einsum("nck,sk->snc", basis, shown)
    assert (moved * wanted).sum() > 0.3 * (wanted**2).sum()


@needs_detectors
def test_looking_at_people_and_fitting_them():
    seen = list(looks(1, seed=7, shots=4))
    assert [look.whole for look in seen] == [True, False] * 4
    for look in seen:
        left, top, right, bottom = look.edges
        body = look.seen.pose[np.isfinite(look.seen.pose[:, 0]), :2]
        assert (look.image[:, :left] == 255).all() and (look.image[bottom:] == 255).all()
        assert 0 <= left < right <= SIZE and (body >= [left, top]).all() and (body <= [right - 1, bottom - 1]).all()
    fitted = fit_all(
        [look for look in seen if look.whole], landmarks_of(read_landmark_points()), load_face_recon(FACE_RECON_FILE)
    )
    np.testing.assert_array_equal(np.sort(fitted.pictures), [1, 1, 4])
    assert np.abs(fitted.found - fitted.true).mean() < 1.0  # standard deviations of adults
    assert np.isfinite(fitted.read).all(1).tolist() == (fitted.pictures == 1).tolist()
    assert np.abs(fitted.read - fitted.true[:, :80])[fitted.pictures == 1].mean() < 1.0
