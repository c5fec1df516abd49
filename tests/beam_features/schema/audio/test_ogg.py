"""Pages of real Ogg files."""

import io
import re
import struct

import pytest

from beam_features.schema.audio import ogg
from beam_features.schema.audio.decode import decode
from beam_features.schema.audio.files import BrokenFile
from beam_features.schema.feature_spec import FeatureSpec
from tests.beam_features.encoded import RATE_HZ, encode, noisy_tone
from tests.beam_features.tiles.mutations import with_checksums

WHOLE = encode(noisy_tone(), "OGG", "VORBIS")
STARTS = [found.start() for found in re.finditer(b"OggS", WHOLE)]


def streams(data: bytes) -> list[ogg.Stream]:
    return ogg.streams(ogg.pages(io.BytesIO(data)))


def test_a_stream():
    (stream,) = streams(WHOLE)
    assert (stream.rate_hz, stream.end, stream.is_complete) == (RATE_HZ, 6 * RATE_HZ, True)
    assert 4.0 < stream.seconds <= 6.0


def test_streams_that_follow_one_another():
    opus = encode(noisy_tone(3.0, 48_000), "OGG", "OPUS", 48_000)
    assert [stream.rate_hz for stream in streams(WHOLE + opus + WHOLE)] == [16_000, 48_000, 16_000]


def test_a_part_without_its_end():
    (stream,) = streams(WHOLE[: STARTS[-1]])
    assert not stream.is_complete


def test_tags_may_follow():
    assert len(streams(WHOLE + b"TAG" + bytes(125))) == 1


def first_audio_page() -> int:
    """Where the first page starts that says a position above 0."""
    return next(s for s in STARTS if struct.unpack_from("<q", WHOLE, s + 6)[0] > 0)


@pytest.mark.parametrize(("later", "begins_late"), [(0, False), (RATE_HZ, True)])
def test_a_stream_that_begins_late(later, begins_late):
    """As a recorder writes it that joins a running broadcast."""
    start = first_audio_page()
    (granule,) = struct.unpack_from("<q", WHOLE, start + 6)
    data = WHOLE[: start + 6] + struct.pack("<q", granule + later) + WHOLE[start + 14 :]
    (stream,) = streams(with_checksums(data))
    assert stream.begins_late == begins_late


def test_a_stream_that_begins_late_is_read_whole(ffmpeg):
    """libsndfile alone would leave out a second at its end."""
    start = first_audio_page()
    (granule,) = struct.unpack_from("<q", WHOLE, start + 6)
    data = WHOLE[: start + 6] + struct.pack("<q", granule + RATE_HZ) + WHOLE[start + 14 :]
    samples = decode(io.BytesIO(with_checksums(data)), FeatureSpec())
    assert len(samples) >= 6 * RATE_HZ - 1152


@pytest.mark.parametrize("granule", [-1, 0, 3 * RATE_HZ])
def test_positions_that_go_back(granule):
    """libsndfile would leave out what is behind the position of the last page."""
    data = WHOLE[: STARTS[-1] + 6] + struct.pack("<q", granule) + WHOLE[STARTS[-1] + 14 :]
    why = rf"undecodable: an Ogg page says that it ends at {granule}, the one before at \d+"
    with pytest.raises(BrokenFile, match=why):
        streams(with_checksums(data))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (WHOLE[:-10], r"truncated: the Ogg page at byte \d+ has \d+ of \d+ bytes"),
        (WHOLE[: STARTS[-1]] + b"junk" + WHOLE[STARTS[-1] :], "undecodable: no Ogg page at byte"),
        (WHOLE[: STARTS[-2]] + WHOLE[STARTS[-1] :], "is corrupt, or the one before is missing"),
        (WHOLE[:-1] + bytes([WHOLE[-1] ^ 1]), "is corrupt, or the one before is missing"),
    ],
    ids=["cut", "junk", "a page is missing", "a bit is flipped"],
)
def test_damage(data, why):
    with pytest.raises(BrokenFile, match=why):
        streams(data)
