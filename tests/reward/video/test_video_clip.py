import numpy as np
import pytest

from reward.errors import InputError
from reward.video import FrameSampling

REGULAR = np.arange(60) / 24


@pytest.mark.parametrize("count", [1, 2, 7, 16, 60])
def test_uniform_sampling_includes_both_ends(count):
    indices = FrameSampling(count).choose(REGULAR, 1 / 12288)
    assert len(indices) == count
    assert indices[0] == 0
    if count > 1:
        assert indices[-1] == 59
    expected = np.floor(np.linspace(0, 59, count) + 1e-6).astype(int)
    np.testing.assert_array_equal(indices, expected)


def test_asked_for_more_frames_than_there_are_repeats_them():
    assert FrameSampling(6).choose(np.array([0.0, 1.0, 2.0]), 1e-3).tolist() == [0, 0, 0, 1, 1, 2]


def test_frames_per_second():
    indices = FrameSampling(num_frames=None, fps=4.0).choose(REGULAR, 1 / 12288)
    assert indices.tolist() == [0, 6, 12, 18, 24, 30, 36, 42, 48, 54]


def test_frames_per_second_above_the_cap_are_spread_evenly():
    assert FrameSampling(num_frames=3, fps=24.0).choose(REGULAR, 1e-4).tolist() == [0, 29, 59]
    assert len(FrameSampling(num_frames=None, fps=24.0, max_frames=10).choose(REGULAR, 1e-4)) == 10


def test_millisecond_rounding_does_not_move_the_choice():
    rounded = np.round(REGULAR, 3)
    for count in (2, 5, 16, 30, 60):
        np.testing.assert_array_equal(
            FrameSampling(count).choose(rounded, 1e-3), FrameSampling(count).choose(REGULAR, 1e-5)
        )


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_frames": 0},
        {"num_frames": None},
        {"fps": 0.0},
        {"fps": float("nan")},
        {"fps": float("inf")},
        {"max_frames": 0},
        {"num_frames": 20, "max_frames": 10},
    ],
)
def test_a_sampling_that_names_no_frames_is_refused(arguments):
    with pytest.raises(InputError, match="frame sampling"):
        FrameSampling(**arguments)
