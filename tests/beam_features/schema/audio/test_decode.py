"""Files whose header, bytes and decoder disagree: read whole, or rejected with both numbers."""

import io
import re
import struct
import zlib

import imageio_ffmpeg
import numpy as np
import pytest
import soundfile

from beam_features.schema.audio import ffmpeg as ffmpeg_decoder
from beam_features.schema.audio import libsndfile
from beam_features.schema.audio.decode import Decoder, by_any_decoder, open_recording
from beam_features.schema.audio.files import AUDIO_SUFFIXES, RejectedRecording
from dem.errors import JobError
from tests.beam_features.encoded import RATE_HZ, encode, noisy_tone, tone
from tests.beam_features.tiles.mutations import id3v2

TAG = b"TAG" + b"a" * 125
APE_TAG = b"APETAGEX" + struct.pack("<IIII", 2000, 132, 1, 1 << 31) + bytes(8)


def length(path) -> int:
    """Frames that the first decoder gives that reads the file to its end."""

    def read(decoder: Decoder):
        with open_recording(str(path), decoder) as (sound, _):
            yield sum(len(block) for block in sound.blocks)

    (n_frames,) = by_any_decoder(read)
    return n_frames


def rejected(path) -> tuple[str, str]:
    with pytest.raises(RejectedRecording) as rejection:
        length(path)
    return rejection.value.reason, rejection.value.detail


def wav_with_size(samples: np.ndarray, size: int, behind: bytes = b"") -> bytes:
    data = bytearray(encode(samples))
    data[40:44] = struct.pack("<I", size & 0xFFFFFFFF)
    return bytes(data) + behind


@pytest.fixture
def write(tmp_path):
    def write(name: str, data: bytes):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


# WAV


@pytest.mark.parametrize(
    "behind", [b"", b"LIST\4\0\0\0INFO", b"id3 \2\0\0\0abcue \4\0\0\0\0\0\0\0", TAG]
)
def test_what_follows_a_complete_wav_is_no_damage(write, no_ffmpeg, behind):
    assert length(write("a.wav", encode(tone()) + behind)) == 2 * RATE_HZ


@pytest.mark.parametrize("form", ["WAV", "AIFF", "CAF", "AU", "W64", "FLAC", "OGG", "MP3"])
def test_tags_before_the_audio_cost_nothing_at_its_end(write, no_ffmpeg, form):
    """libsndfile alone leaves out as many bytes of WAV, AIFF and CAF as the tag has."""
    whole, tag = encode(noisy_tone(), form, soundfile.default_subtype(form)), id3v2(20_000)
    assert length(write("a.wav", tag + whole)) == length(write("b.wav", whole)) == 6 * RATE_HZ
    assert rejected(write("c.wav", tag + whole[:-3000]))[0] == "truncated"


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFF000, 0x80000000, 0xFFFFFFFF - 36])
def test_an_unfinished_wav_is_read_to_its_end(write, no_ffmpeg, size):
    assert length(write("a.wav", wav_with_size(tone(), size))) == 2 * RATE_HZ


def test_an_empty_wav_is_empty(write, no_ffmpeg):
    assert length(write("a.wav", wav_with_size(tone(0), 0, b"LIST\4\0\0\0INFO"))) == 0


@pytest.mark.parametrize(
    ("behind", "follow"),
    [
        (b"", 64_000),
        (b"LIST\4\0\0\0INFO", 64_012),
        (encode(tone()), 128_044),
        (bytes(8000), 72_000),
    ],
    ids=["nothing", "a chunk", "a file", "silence"],
)
def test_a_wav_longer_than_its_header_says(write, ffmpeg, behind, follow):
    why = rejected(write("a.wav", wav_with_size(tone(), 16_000, behind)))
    assert why == ("unknown_length", f"the header says 16000 bytes of audio, {follow} follow")


def test_two_wavs_in_one_file(write, ffmpeg):
    why = rejected(write("a.wav", 2 * encode(tone())))
    assert why == ("unknown_length", "the header says 64000 bytes of audio, 128044 follow")


@pytest.mark.slow
@pytest.mark.parametrize("behind", [b"", b"LIST\4\0\0\0INFO"], ids=["nothing", "a chunk"])
@pytest.mark.parametrize("size", [64_000, 0, 0xFFFFFFFF])
def test_a_wav_of_more_than_4_gib_is_read_to_its_end(tmp_path, no_ffmpeg, behind, size):
    """Its size is known but for multiples of 2**32. The file is sparse; 16 channels are fast."""
    path, n_bytes = tmp_path / "a.wav", (1 << 32) + 64_000
    head = bytearray(encode(np.zeros((0, 16)), "WAV", "FLOAT", 1_000_000))
    start = head.index(b"data") + 8
    head[start - 4 : start] = struct.pack("<I", size)
    with path.open("wb") as file:
        file.write(head[:start])
        file.truncate(start + n_bytes)
        file.seek(start + n_bytes)
        file.write(behind)
    assert length(path) == n_bytes // 64


CODECS_IN_WAV = {  # frames of one second that a codec adds at most
    "g722": 0,
    "ac3": 1536,
    "g726": 0,
    "adpcm_yamaha": 1024,
    "flac": 0,
}


@pytest.mark.parametrize("codec", CODECS_IN_WAV)
def test_codecs_that_libsndfile_lacks_in_wav(convert, write, request, codec):
    rate_hz = {"g726": 8_000, "ac3": 32_000}.get(codec, RATE_HZ)
    options = ("-ar", str(rate_hz), "-c:a", codec, "-strict", "-2")
    path = write("a.wav", convert(tone(), "a.wav", *options))
    assert 0 <= length(path) - 2 * rate_hz <= CODECS_IN_WAV[codec]
    path.write_bytes(path.read_bytes()[:-1000])
    reason, detail = rejected(path)
    assert reason == "truncated"
    assert "bytes of audio, " in detail
    request.getfixturevalue("no_ffmpeg")
    path.write_bytes(convert(tone(), "a.wav", *options))
    reason, detail = rejected(path)
    assert reason == "unsupported_codec"
    assert detail.endswith("in WAV; install ffmpeg, or the extra `ffmpeg`, to read it")


# FLAC


@pytest.mark.parametrize("behind", [TAG, APE_TAG, bytes(4096)], ids=["ID3v1", "APE", "zeros"])
def test_what_follows_a_complete_flac_is_no_damage(write, no_ffmpeg, behind):
    whole = encode(noisy_tone(), "FLAC")
    assert length(write("a.flac", whole + behind)) == 6 * RATE_HZ
    reason, detail = rejected(write("b.flac", whole[:-5000] + behind))
    assert reason == "truncated"
    assert detail.endswith("of 96000 frames)")


def test_a_flac_that_goes_on_behind_its_end(write, ffmpeg, no_ffmpeg):
    data = bytearray(encode(noisy_tone(), "FLAC"))
    data[22:26] = struct.pack(">I", 16_000)
    for name, content in (("a.flac", bytes(data)), ("b.flac", 2 * encode(noisy_tone(), "FLAC"))):
        reason, detail = rejected(write(name, content))
        assert reason == "unknown_length"
        assert detail.startswith("frames of FLAC follow the last one that the header says; inst")


# Ogg


@pytest.mark.parametrize(("subtype", "rate_hz"), [("VORBIS", RATE_HZ), ("OPUS", 48_000)])
def test_chained_ogg(write, request, ffmpeg, subtype, rate_hz):
    """Both parts, and at most a block of Vorbis that the first one's end would cut off."""
    parts = [encode(noisy_tone(seconds, rate_hz), "OGG", subtype, rate_hz) for seconds in (6, 2)]
    path = write("a.ogg", b"".join(parts))
    assert 0 <= length(path) - 8 * rate_hz < 2048
    path.write_bytes(b"".join(parts)[:-500])
    reason, detail = rejected(path)
    assert reason == "truncated"
    assert re.fullmatch(r"the Ogg page at byte \d+ has \d+ of \d+ bytes", detail)
    request.getfixturevalue("no_ffmpeg")
    reason, detail = rejected(write("b.ogg", b"".join(parts)))
    assert reason == "unknown_length"
    assert detail.startswith("the file has 2 parts, of which libsndfile reads the first; install")


# Suffixes

OPTIONS = {  # how ffmpeg encodes what is not the default for a suffix
    ".rf64": ("-f", "wav", "-rf64", "always"),
    ".bwf": ("-f", "wav", "-write_bext", "1"),
    ".wave": ("-f", "wav"),
    ".aifc": ("-f", "aiff", "-c:a", "pcm_s16le"),
    ".snd": ("-f", "au"),
    ".mpga": ("-f", "mp2"),
    ".m4r": ("-f", "ipod"),
    ".m4b": ("-c:a", "aac"),
    ".3gp": ("-c:a", "aac"),
    ".3g2": ("-c:a", "aac"),
    ".mka": ("-c:a", "flac"),
    ".mkv": ("-c:a", "aac"),
    ".webm": ("-c:a", "libopus"),
    ".wv": ("-c:a", "wavpack"),
    ".dts": ("-strict", "-2"),
    ".amr": ("-ar", "8000"),
}


def silent_ape(n_frames: int, rate_hz: int) -> bytes:
    """Monkey's Audio of silence, which needs no encoder: each block says that it is silent."""
    block = 73728
    counts = [block] * (n_frames // block) + [n_frames % block]
    sizes = (52, 24, 4 * len(counts), 0, 12 * len(counts), 0, 0)
    descriptor = struct.pack("<4sHH7I16x", b"MAC ", 3990, 0, *sizes)
    header = struct.pack("<HHIIIHHI", 1000, 0, block, counts[-1], len(counts), 16, 1, rate_hz)
    starts = [52 + 24 + 4 * len(counts) + 12 * index for index in range(len(counts))]
    checksums = [zlib.crc32(bytes(2 * count)) >> 1 | 1 << 31 for count in counts]
    blocks = [struct.pack("<III", checksum, 1, 0) for checksum in checksums]
    return b"".join([descriptor, header, struct.pack(f"<{len(starts)}I", *starts), *blocks])


@pytest.mark.parametrize("suffix", AUDIO_SUFFIXES)
def test_every_suffix_is_read_whole(convert, write, suffix):
    """Codecs of fixed frames add up to 0.12 s; WMA drops the 2048 frames of its delay."""
    name, samples, rate_hz = f"a{suffix}", noisy_tone(3.0, 44_100), 44_100
    if suffix == ".ape":
        data = silent_ape(len(samples), rate_hz)
    elif suffix == ".sph":
        data = encode(samples, "NIST", "PCM_16", rate_hz)
    else:
        data = convert(samples, name, *OPTIONS.get(suffix, ()), rate_hz=rate_hz)
    seconds = length(write(name, data)) / {".amr": 8_000, ".opus": 48_000, ".webm": 48_000}.get(
        suffix, rate_hz
    )
    assert -0.05 < seconds - 3.0 < 0.12
    kept = len(data) - 8 if suffix == ".ape" else len(data) // 2 - 1
    half = write(f"half{suffix}", data[:kept])
    assert rejected(half)[0] in ("truncated", "undecodable")


# What is no fault of the file


class FailingFile(io.BytesIO):
    """A storage that fails half way."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() > len(self.getvalue()) // 2:
            raise ConnectionResetError(104, "reset by peer")
        return super().read(size)


@pytest.mark.parametrize("decoder", [libsndfile.open_audio, ffmpeg_decoder.open_audio])
@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG", "MP3"])
def test_a_failure_of_the_storage_is_raised(ffmpeg, decoder, form):
    """libsndfile calls back for bytes, and would take an exception for the end of the file."""
    file = FailingFile(encode(noisy_tone(20.0), form, None))
    with pytest.raises(ConnectionResetError), decoder(file) as sound:
        list(sound.blocks)


def test_an_ffmpeg_that_cannot_be_started(write, monkeypatch, tmp_path):
    program = tmp_path / "ffmpeg"
    program.write_text("no program")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(JobError, match=r"cannot run .*ffmpeg: Exec format error"):
        length(write("a.flac", b"fLaC" + bytes(100)))


def test_the_program_of_imageio_ffmpeg(convert, write, monkeypatch, tmp_path):
    path = write("a.m4a", convert(tone(), "a.m4a"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ffmpeg_decoder.find_program() == imageio_ffmpeg.get_ffmpeg_exe()
    assert length(path) == 2 * RATE_HZ
