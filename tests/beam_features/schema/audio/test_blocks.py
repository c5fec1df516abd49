"""The extent of the audio in True Audio and WavPack, made by ffmpeg."""

import io
import struct

import pytest

from beam_features.schema.audio.blocks import find_audio
from tests.beam_features.encoded import noisy_tone


def extent(data: bytes):
    return find_audio(io.BytesIO(data))


@pytest.mark.parametrize("name", ["a.tta", "a.wv"])
def test_whole_cut_and_joined_files(convert, name):
    whole = convert(noisy_tone(), name)
    found = extent(whole)
    assert found.said == found.held
    assert found.seconds == 6.0
    cut = extent(whole[:-5000])
    assert cut.held < cut.said
    joined = extent(whole + whole)
    assert joined.held > joined.said or joined.seconds == 12.0


def test_true_audio_that_says_less_than_it_holds(convert):
    data = bytearray(convert(noisy_tone(), "a.tta"))
    data[14:18] = struct.pack("<I", 20_000)
    found = extent(bytes(data))
    assert found.held > found.said
