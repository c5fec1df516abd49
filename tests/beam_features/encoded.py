"""Signals, and their bytes in every format that libsndfile or ffmpeg writes."""

import io
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import soundfile

RATE_HZ = 16_000
FORMATS = {  # how far a decoded sample may lie from the original
    ("WAV", "PCM_16"): 2**-15,
    ("WAV", "PCM_24"): 2**-23,
    ("WAV", "FLOAT"): 1e-7,
    ("FLAC", "PCM_16"): 2**-15,
    ("AIFF", "PCM_16"): 2**-15,
    ("AU", "PCM_16"): 2**-15,
    ("W64", "PCM_16"): 2**-15,
    ("OGG", "VORBIS"): 0.02,
    ("OGG", "OPUS"): 0.02,
    ("MP3", "MPEG_LAYER_III"): 0.02,
}
SUFFIXES = {  # of libsndfile's containers; others have their name in lower case
    "WAVEX": "wav",
    "RF64": "wav",
    "IRCAM": "sf",
    "MAT4": "mat",
    "MAT5": "mat",
}
NOT_WRITTEN = {  # headerless, in two files, or soundfile cannot write or read it from memory
    *("RAW", "SD2", "DWVW_12", "DWVW_16", "DWVW_24", "MPEG_LAYER_I", "MPEG_LAYER_II"),
}
BY_FFMPEG = {  # suffix and codec: options
    **{f"{suffix}/aac": "-c:a aac" for suffix in ("aac", "m4a", "mp4", "m4b", "3gp", "mov", "mka")},
    **{f"{suffix}/alac": "-c:a alac" for suffix in ("m4a", "mov", "caf", "mka")},
    **{f"{suffix}/flac": "-c:a flac" for suffix in ("flac", "oga", "mka", "mp4", "wav")},
    **{f"{suffix}/opus": "-c:a libopus" for suffix in ("opus", "webm", "mka", "mp4")},
    **{f"{suffix}/vorbis": "-c:a libvorbis" for suffix in ("ogg", "webm", "mka")},
    **{f"{suffix}/mp3": "-c:a libmp3lame" for suffix in ("mp3", "wav", "mka", "mp4")},
    "mp3/no Xing": "-c:a libmp3lame -write_xing 0 -id3v2_version 0",
    "mp3/VBR": "-c:a libmp3lame -q:a 5",
    "mp3/VBR, no Xing": "-c:a libmp3lame -q:a 5 -write_xing 0",
    **{f"{suffix}/mp2": "-c:a mp2" for suffix in ("mp2", "wav")},
    **{f"{suffix}/ac3": "-c:a ac3" for suffix in ("ac3", "wav", "mka")},
    "eac3/eac3": "-c:a eac3",
    "dts/dts": "-c:a dca -strict -2 -ar 48000",
    **{f"{suffix}/amr": "-c:a libopencore_amrnb -ar 8000 -ac 1" for suffix in ("amr", "3gp")},
    **{f"{suffix}/wmav1": "-c:a wmav1" for suffix in ("wma", "asf")},
    **{f"{suffix}/wmav2": "-c:a wmav2" for suffix in ("wma", "wav")},
    **{f"{suffix}/wavpack": "-c:a wavpack" for suffix in ("wv", "mka")},
    **{f"{suffix}/tta": "-c:a tta" for suffix in ("tta", "mka")},
    **{f"wav/{codec}": f"-c:a {codec}" for codec in ("adpcm_ms", "adpcm_ima_wav", "adpcm_yamaha")},
    "wav/g722": "-c:a g722 -ac 1",
    "wav/g726": "-c:a g726 -ac 1 -ar 8000 -b:a 32k",
    **{f"{suffix}/pcm_s16le": "-c:a pcm_s16le" for suffix in ("wav", "w64", "mov", "mka", "caf")},
    **{f"{suffix}/pcm_f32le": "-c:a pcm_f32le" for suffix in ("wav", "w64", "mov", "mka", "caf")},
    **{f"{suffix}/pcm_f64le": "-c:a pcm_f64le" for suffix in ("wav", "w64", "mov", "mka", "caf")},
    **{f"{suffix}/pcm_s16be": "-c:a pcm_s16be" for suffix in ("aiff", "au")},
    **{f"{suffix}/pcm_f32be": "-c:a pcm_f32be" for suffix in ("aiff", "au")},
    "wav/RF64": "-c:a pcm_s16le -rf64 always",
    "voc/pcm_u8": "-c:a pcm_u8",
    "mov/adpcm_ima_qt": "-c:a adpcm_ima_qt",
}
RATES_HZ = {"WVE": 8_000, "XI": 44_100}  # containers with one rate
STREAMS = {  # forms in which nothing says how long the recording is
    *("aac/aac", "mp3/no Xing", "mp3/VBR, no Xing", "mp2/mp2", "ac3/ac3", "eac3/eac3", "dts/dts"),
    *("amr/amr", "IRCAM", "PAF", "PVF"),
}


@dataclass(frozen=True)
class Form:
    """A container with a codec: its name, the suffix of its files, and how to write one."""

    name: str
    suffix: str
    encode: Callable[[np.ndarray, int], bytes]  # samples [n] or [n, n_channels], rate

    @property
    def container(self) -> str:
        """libsndfile's name of the container, or the suffix that ffmpeg chose it by."""
        return self.name.split("/")[0].split()[0]

    @property
    def is_stream(self) -> bool:
        return not {self.name, self.container}.isdisjoint(STREAMS)

    @property
    def rate_hz(self) -> int:
        """A rate that it supports."""
        return RATES_HZ.get(self.container, RATE_HZ)


def tone(seconds: float = 2.0, rate_hz: int = RATE_HZ, frequency_hz: float = 440.0) -> np.ndarray:
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    return 0.25 * np.sin(2 * np.pi * frequency_hz * time_s)


def noisy_tone(seconds: float = 6.0, rate_hz: int = RATE_HZ) -> np.ndarray:
    """Long enough, and rich enough, that half of any encoding holds whole frames of audio."""
    samples = tone(seconds, rate_hz)
    return samples + np.random.default_rng(0).normal(0, 0.01, len(samples))


def _one(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(noise: np.ndarray) -> np.ndarray:
        return np.where(np.arange(len(noise)) == len(noise) // 2, value, noise)

    return change


EXTREMES: dict[str, Callable[[np.ndarray], np.ndarray]] = {  # at and beyond what a sample can be
    **{
        f"one {value:g}": _one(value)
        for value in (np.nan, np.inf, -np.inf, 1e19, -1e25, 3.4e38, 1e300, 1e-45)
    },
    "noise of 1e-45": lambda noise: noise * 1e-45,
    "noise of 1e-300": lambda noise: noise * 1e-300,
    "noise of 1e19": lambda noise: noise * 1e19,
    "noise of 1e25": lambda noise: noise * 1e25,
    "noise of 1e38": lambda noise: noise * 1e38,
    "all -1": lambda noise: np.full_like(noise, -1),
    "all 1": lambda noise: np.full_like(noise, 1),
    "all 3e38": lambda noise: np.full_like(noise, 3e38),
    "all 0": np.zeros_like,
    "square": lambda noise: 1.0 - np.arange(len(noise)) // 20 % 2 * 2,
    "square of 3e38": lambda noise: 3e38 - np.arange(len(noise)) // 20 % 2 * 6e38,
    "alternating": lambda noise: 1.0 - np.arange(len(noise)) % 2 * 2,
    "one click": lambda noise: _one(1)(noise * 0),
}


def encode(samples, form="WAV", subtype="PCM_16", rate_hz=RATE_HZ) -> bytes:
    file = io.BytesIO()
    if subtype not in ("FLOAT", "DOUBLE"):  # beyond full scale libsndfile's encoders crash
        samples = np.clip(np.nan_to_num(samples), -1, 1)
    soundfile.write(file, samples, rate_hz, format=form, subtype=subtype)
    return file.getvalue()


def encode_with_ffmpeg(samples, suffix: str, options: str, rate_hz=RATE_HZ) -> bytes:
    n_channels = 1 if samples.ndim == 1 else samples.shape[1]
    source = ["-f", "f64le", "-ar", str(rate_hz), "-ac", str(n_channels), "-i", "pipe:0"]
    with tempfile.TemporaryDirectory() as home:
        path = Path(home) / f"a.{suffix}"
        program = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-threads", "1"]
        command = [*program, *source, *options.split(), "-fflags", "+bitexact", path]
        subprocess.run(
            command, input=samples.astype("<f8").tobytes(), check=True, capture_output=True
        )
        return path.read_bytes()


def all_forms() -> list[Form]:
    """Every container and sample format that libsndfile writes, then what ffmpeg writes."""
    return [*_forms_of_libsndfile(), *map(_form_of_ffmpeg, BY_FFMPEG)]


def _forms_of_libsndfile() -> list[Form]:
    return [
        Form(
            f"{form} {subtype}",
            SUFFIXES.get(form, form.lower()),
            lambda samples, rate_hz, form=form, subtype=subtype: encode(
                samples, form, subtype, rate_hz
            ),
        )
        for form in sorted(soundfile.available_formats())
        for subtype in sorted(soundfile.available_subtypes(form))
        if not {form, subtype} & NOT_WRITTEN and (form, subtype) != ("WAV", "MPEG_LAYER_III")
    ]


def _form_of_ffmpeg(name: str) -> Form:
    suffix = name.split("/")[0]

    def encode(samples: np.ndarray, rate_hz: int) -> bytes:
        return encode_with_ffmpeg(samples, suffix, BY_FFMPEG[name], rate_hz)

    return Form(name, suffix, encode)
