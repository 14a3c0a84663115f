"""Frames: cut at any point, put together again, and refused where they are none."""

from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent_workers.frames import (
    FRAME_BYTES_MAX,
    PART_BYTES_MAX,
    REQUEST_ID_BYTES,
    FrameError,
    FrameReader,
    FrameType,
    encode,
    invoke,
)

FRAMES = st.lists(st.tuples(st.sampled_from(FrameType), st.binary(max_size=200)), max_size=8)


@given(frames=FRAMES, cuts=st.lists(st.integers(0, 2000), max_size=12))
def test_frames_survive_any_cut(frames: list[tuple[FrameType, bytes]], cuts: list[int]) -> None:
    """However a stream is cut on its way, the same frames come out of it."""
    stream = b"".join(encode(kind, body) for kind, body in frames)
    at = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    reader = FrameReader()
    received = [frame for a, b in itertools.pairwise(at) for frame in reader.feed(stream[a:b])]
    assert received == [(int(kind), body) for kind, body in frames]


def test_an_invoke_frame() -> None:
    """Header and event of an INVOKE frame are told apart by the header's length."""
    [(kind, body)] = FrameReader().feed(invoke(b'{"id":1}', b"event\x00"))
    size = struct.unpack_from(">I", body)[0]
    assert (kind, body[4 : 4 + size], body[4 + size :]) == (FrameType.INVOKE, b'{"id":1}', b"event\x00")


@pytest.mark.parametrize("length", [0, FRAME_BYTES_MAX + 1, 0xFFFFFFFF])
def test_impossible_lengths_are_refused(length: int) -> None:
    """A peer cannot make the worker wait for, or hold, more than the largest frame."""
    with pytest.raises(FrameError):
        FrameReader().feed(struct.pack(">IB", length, 18))


def test_parts_are_bounded() -> None:
    """A part of a stream is refused by its head where it is over its size, which is less than a response's."""
    size = 1 + REQUEST_ID_BYTES + PART_BYTES_MAX
    assert FrameReader().feed(struct.pack(">IB", size, FrameType.PART)) == []
    assert FrameReader().feed(struct.pack(">IB", size + 1, FrameType.RESULT)) == []
    with pytest.raises(FrameError):
        FrameReader().feed(struct.pack(">IB", size + 1, FrameType.PART))
