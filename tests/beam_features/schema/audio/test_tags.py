"""Tags in front of audio and behind it."""

import io
import struct

import pytest

from beam_features.schema.audio.tags import end_of_audio, start_of_audio, without_tags

ID3V1 = b"TAG" + b"a" * 124 + b"\0"
ID3V2 = b"ID3\4\0\0\0\0\1\0" + bytes(128)
LYRICS = b"LYRICSBEGIN" + b"words" + b"000016" + b"LYRICS200"
ITEM = struct.pack("<II", 3, 0) + b"Title\0abc"


def ape(flags: int, size: int) -> bytes:
    return b"APETAGEX" + struct.pack("<IIII", 2000, size, 1, flags) + bytes(8)


SIZE = len(ITEM) + 32
APE = ape(0xA0000000, SIZE) + ITEM + ape(0x80000000, SIZE)
BARE_APE = ITEM + ape(0, SIZE)


@pytest.mark.parametrize("tags", [ID3V1, APE, BARE_APE, LYRICS + ID3V1, APE + ID3V1], ids=len)
def test_tags_behind(tags):
    assert end_of_audio(io.BytesIO(b"audio" * 100 + tags)) == 500
    assert without_tags(tags) == b""


def test_a_footer_that_claims_more_than_there_is():
    assert end_of_audio(io.BytesIO(b"audio" * 100 + ape(1 << 31, 132))) == 500


def test_tags_in_front():
    assert start_of_audio(io.BytesIO(ID3V2 + ID3V2 + b"audio")) == 2 * len(ID3V2)


def test_what_is_no_tag_stays():
    assert without_tags(ID3V2 + b"audio" + ID3V1) == b"audio"
    assert without_tags(bytes(1 << 12)) == b""
    assert len(without_tags(bytes((1 << 12) + 1))) == (1 << 12) + 1
