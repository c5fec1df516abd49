"""The extent of the audio in files of chunks, against sizes that soundfile wrote."""

import io
import struct

import pytest

from beam_features.schema.audio.chunks import find_audio
from tests.beam_features.encoded import RATE_HZ, encode, noisy_tone, tone

FORMS = [("WAV", "PCM_16"), ("RF64", "PCM_16"), ("W64", "PCM_16"), ("AIFF", "PCM_16")]
FORMS += [("CAF", "PCM_16"), ("WAV", "FLOAT"), ("WAVEX", "PCM_24"), ("AIFF", "FLOAT")]
WIDTH = {"PCM_16": 2, "PCM_24": 3, "FLOAT": 4}


def extent(data: bytes):
    return find_audio(io.BytesIO(data))


@pytest.mark.parametrize(("form", "subtype"), FORMS)
def test_whole_files(form, subtype):
    found = extent(encode(tone(), form, subtype))
    assert (found.said, found.held) == (64_000 * WIDTH[subtype] // 2,) * 2
    assert (found.frames, found.rate_hz, found.seconds) == (32_000, RATE_HZ, 2.0)
    assert not found.is_mended


@pytest.mark.parametrize(("form", "subtype"), FORMS)
@pytest.mark.parametrize("missing", [1, 100, 50_000])
def test_files_that_lack_their_end(form, subtype, missing):
    found = extent(encode(tone(), form, subtype)[:-missing])
    assert found.said == 64_000 * WIDTH[subtype] // 2
    assert found.held == found.said - missing


@pytest.mark.parametrize(("form", "subtype"), FORMS)
def test_files_that_were_joined(form, subtype):
    whole = encode(tone(), form, subtype)
    found = extent(whole + whole)
    assert found.said == 64_000 * WIDTH[subtype] // 2
    assert found.held == found.said + len(whole)


def test_big_endian_wav():
    data = bytearray(encode(tone()))
    numbers = (16, 1, 1, RATE_HZ, 2 * RATE_HZ, 2, 16)
    data[:40] = struct.pack(">4sI8sIHHIIHH4s", b"RIFX", 64_036, b"WAVEfmt ", *numbers, b"data")
    data[40:44] = struct.pack(">I", 64_000)
    found = extent(bytes(data))
    assert (found.said, found.held, found.frames) == (64_000, 64_000, 32_000)


def test_a_second_chunk_of_audio_is_counted():
    data = encode(tone())
    found = extent(data + b"data" + struct.pack("<I", 100) + bytes(100))
    assert (found.said, found.held) == (64_000, 64_108)


def test_frames_of_aiff_are_promised_twice():
    """The chunk COMM says 40,000 frames of 2 bytes, the chunk SSND holds 32,000."""
    data = bytearray(encode(tone(), "AIFF"))
    at = data.index(b"COMM") + 10
    data[at : at + 4] = struct.pack(">I", 40_000)
    found = extent(bytes(data))
    assert (found.said, found.held) == (80_000, 64_000)


@pytest.mark.parametrize(("subtype", "frames"), [("GSM610", 160), ("IMA_ADPCM", 64)])
def test_packets_of_aiff_count_and_not_what_its_header_says(subtype, frames):
    whole = encode(noisy_tone(2.0), "AIFF", subtype)
    count = whole.index(b"COMM") + 10
    found = extent(whole[:count] + bytes(4) + whole[count + 4 :])
    assert 2 * RATE_HZ - 2 * frames < found.seconds * RATE_HZ <= 2 * RATE_HZ


def test_noise_behind_the_audio_is_no_chunk():
    """Its first four bytes are letters, and it does not end with a chunk."""
    noise = b"abcd" + (noisy_tone(1.0) * 20_000).astype("<i2").tobytes()
    found = extent(encode(tone()) + noise)
    assert (found.said, found.held) == (64_000, 64_000 + len(noise))


@pytest.mark.parametrize(
    "data", [b"", b"RIFF", b"fLaC" + bytes(100), b"RIFF\0\0\0\0WAVE" + bytes(9)]
)
def test_other_files(data):
    assert extent(data) is None


def test_endless_chunks_end():
    assert extent(b"RIFF\0\0\0\0WAVE" + b"JUNK\0\0\0\0" * 100_000) is None
