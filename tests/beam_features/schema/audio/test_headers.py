"""The extent of the audio in AU, VOC and SPHERE."""

import io
import struct

import pytest

from beam_features.schema.audio.files import BrokenFile
from beam_features.schema.audio.headers import find_audio
from tests.beam_features.encoded import RATE_HZ, encode, tone

FORMS = ["AU", "VOC", "NIST"]


def extent(data: bytes):
    return find_audio(io.BytesIO(data))


@pytest.mark.parametrize("form", FORMS)
def test_whole_cut_and_joined_files(form):
    whole = encode(tone(), form, "PCM_16")
    found = extent(whole)
    assert (found.said, found.held, found.frames, found.parts) == (64_000, 64_000, 32_000, 1)
    assert found.seconds == pytest.approx(2.0)
    missing = 1001
    assert extent(whole[:-missing]).held == 64_000 - missing + (form == "VOC")  # its end mark
    assert extent(whole + whole).held == 64_000 + len(whole)


def test_unfinished_au():
    data = bytearray(encode(tone(), "AU", "PCM_16"))
    data[8:12] = b"\xff" * 4
    found = extent(bytes(data))
    assert (found.said, found.held, found.is_mended) == (64_000, 64_000, True)


def voc(*blocks: tuple[int, bytes]) -> bytes:
    head = b"Creative Voice File\x1a" + struct.pack("<HHH", 26, 0x010A, 0x1129)
    parts = [bytes([kind]) + struct.pack("<I", len(data))[:3] + data for kind, data in blocks]
    return head + b"".join(parts) + b"\0"


SOUND = struct.pack("<IBBH4x", RATE_HZ, 16, 1, 4) + bytes(1000)


def test_blocks_of_voc():
    found = extent(voc((9, SOUND), (2, bytes(500)), (5, b"a comment\0")))
    assert (found.said, found.held, found.frames, found.parts) == (1500, 1500, 750, 2)
    assert found.rate_hz == RATE_HZ


def test_old_blocks_of_voc():
    found = extent(voc((1, bytes([256 - 125, 0]) + bytes(800))))
    assert (found.said, found.frame_bytes, found.rate_hz) == (800, 1, 8000.0)


@pytest.mark.parametrize("kind", [3, 6])
def test_silence_and_repetition_in_voc(kind):
    """ffmpeg and libsndfile leave them out."""
    with pytest.raises(BrokenFile, match="a VOC file with blocks of silence or repetition"):
        extent(voc((9, SOUND), (kind, b"\1\0\1")))
