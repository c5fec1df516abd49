"""Headers of real FLAC files and of their frames."""

import io
import struct

import numpy as np

from beam_features.schema.audio import flac
from tests.beam_features.encoded import encode, noisy_tone

STEREO = np.stack([noisy_tone(), noisy_tone()[::-1]], axis=1)


def info_of(data: bytes) -> flac.StreamInfo | None:
    return flac.stream_info(io.BytesIO(data))


def test_stream_info():
    info = info_of(encode(STEREO, "FLAC", "PCM_24", 44_100))
    assert info == flac.StreamInfo(4096, 44_100, 2, 24, len(STEREO))
    assert info_of(b"RIFF" + bytes(100)) is None


def test_frames_behind_the_end():
    whole = encode(STEREO, "FLAC", "PCM_16", 44_100)
    info = info_of(whole)
    assert info is not None
    assert not flac.goes_on(whole[4:], info)
    assert flac.goes_on(whole[4:] + whole, info)
    shorter = bytearray(whole)
    shorter[22:26] = struct.pack(">I", 60_000)
    info = info_of(bytes(shorter))
    assert info is not None
    assert info.n_frames == 60_000
    assert flac.goes_on(whole[4:], info)


def test_noise_has_no_frames():
    info = flac.StreamInfo(4096, 44_100, 2, 16, 1000)
    assert not flac.goes_on(np.random.default_rng(0).bytes(1 << 20), info)
