"""Packed sets of frames against Python's own sets."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gdbext.pmm.frames import FrameSet

counts = st.integers(0, 300)


def made(numbers, count):
    return FrameSet.of_numbers(np.array(sorted(numbers), dtype=np.uint64), count)


def members(frames):
    first, length = frames.runs()
    return {n for f, k in zip(first.tolist(), length.tolist(), strict=True) for n in range(f, f + k)}


@given(counts, st.sets(st.integers(0, 320)))
def test_members_count_and_first(count, numbers):
    frames, expected = made(numbers, count), {n for n in numbers if n < count}
    assert members(frames) == expected
    assert len(frames) == len(expected)
    assert frames.first() == min(expected, default=None)
    assert all((n in frames) == (n in expected) for n in range(-1, count + 2))


@given(counts, st.sets(st.integers(0, 320)))
def test_runs_are_as_long_as_can_be(count, numbers):
    first, length = made(numbers, count).runs()
    assert (length > 0).all()
    assert (first[1:] > first[:-1] + length[:-1]).all()


@given(counts, counts, st.sets(st.integers(0, 320)), st.sets(st.integers(0, 320)))
def test_intersection_and_difference(count, other_count, a, b):
    left, right = made(a, count), made(b, other_count)
    a, b = {n for n in a if n < count}, {n for n in b if n < other_count}
    assert members(left & right) == a & b
    assert members(left - right) == a - b
    assert members(left | right) == a | {n for n in b if n < count}


@given(counts, st.lists(st.tuples(st.integers(-5, 320), st.integers(-5, 320))))
def test_ranges(count, ranges):
    expected = {n for first, end in ranges for n in range(max(first, 0), min(end, count))}
    assert members(FrameSet.of_ranges(ranges, count)) == expected
