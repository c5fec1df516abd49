"""Frames of real MP3 and MP2 files."""

import io

import numpy as np
import pytest

from beam_features.schema.audio import mpeg
from beam_features.schema.audio.files import BrokenFile
from tests.beam_features.encoded import RATE_HZ, encode, noisy_tone

MP3 = encode(noisy_tone(), "MP3", "MPEG_LAYER_III")
HEADER = mpeg.parse(MP3[:4])
BARE = MP3[HEADER.n_bytes :]  # without the first frame, which is a header


def walk(data: bytes) -> mpeg.Stream:
    return mpeg.walk(io.BytesIO(data))


def test_a_header_says_how_long_it_is():
    stream = walk(MP3)
    assert stream.said_s == pytest.approx(6.0)
    assert stream.seconds == pytest.approx(6.0)
    assert stream.kinds == {(RATE_HZ, 1)}


def test_without_a_header_frames_are_counted():
    """576 samples a frame; 529 of the decoder and what fills the last frame are added."""
    stream = walk(BARE)
    assert stream.said_s == 0.0
    assert 0 < stream.seconds - 6.0 < 0.15
    n_frames = stream.seconds * RATE_HZ / 576
    assert n_frames == pytest.approx(round(n_frames))


def test_layer_2(convert):
    assert 0 <= walk(convert(noisy_tone(), "a.mp2")).seconds - 6.0 < 0.1


@pytest.mark.parametrize("between", [b"", b"TAG" + bytes(125), b"ID3\4\0\0\0\0\1\0" + bytes(128)])
def test_files_that_were_joined(between):
    stream = walk(b"rest of a frame" + BARE + between + BARE)
    assert stream.seconds == pytest.approx(2 * walk(BARE).seconds)


def test_another_rate_follows():
    other = encode(noisy_tone(2.0, 44_100), "MP3", "MPEG_LAYER_III", 44_100)
    stereo = encode(np.zeros((8000, 2)), "MP3", "MPEG_LAYER_III")
    assert walk(BARE + other + stereo).kinds == {(16_000, 1), (44_100, 1), (16_000, 2)}


def test_the_last_frame_is_cut():
    with pytest.raises(BrokenFile, match=r"truncated: the MPEG frame at byte \d+ has \d+ of \d+ "):
        walk(BARE[:-10] + b"TAG" + bytes(125))


def test_bytes_between_frames():
    with pytest.raises(BrokenFile, match=r"undecodable: no MPEG frame at byte \d+, but others fo"):
        walk(BARE[:5000] + b"junk" + BARE[5000:])
