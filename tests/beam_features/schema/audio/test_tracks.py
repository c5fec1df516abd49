"""The first audio track of MPEG-4 files that ffmpeg made."""

import io
import struct

import pytest

from beam_features.schema.audio import tracks
from beam_features.schema.audio.files import BrokenFile
from tests.beam_features.encoded import noisy_tone


def seconds(data: bytes) -> float:
    return tracks.seconds(io.BytesIO(data))


def test_the_sound_of_a_longer_video(convert):
    video = ["-f", "lavfi", "-i", "testsrc=duration=3:size=64x64", "-c:v", "mpeg4", "-c:a", "alac"]
    assert seconds(convert(noisy_tone(2.0), "a.mp4", *video)) == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("options", [(), ("-movflags", "+faststart")])
def test_a_file(convert, options):
    assert seconds(convert(noisy_tone(), "a.m4a", *options)) == pytest.approx(6.0, abs=0.1)


def test_an_edit_list_of_less_than_its_track(convert):
    """The duration of its one edit is made half: at 16 bytes behind the name of the box."""
    data = bytearray(convert(noisy_tone(), "a.m4a"))
    at = data.index(b"elst") + 12
    (duration,) = struct.unpack(">I", data[at : at + 4])
    data[at : at + 4] = struct.pack(">I", duration // 2)
    with pytest.raises(BrokenFile, match=r"the track says 6\.\d+ s, its edit list 3\.\d+ s"):
        seconds(bytes(data))
