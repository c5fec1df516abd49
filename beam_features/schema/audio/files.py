"""Audio files as the job sees them: their suffixes, what a decoder returns, why one is rejected."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

AUDIO_SUFFIXES = (  # the first two lines need no ffmpeg
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".snd"),
    *(".w64", ".rf64", ".bwf", ".wave", ".caf", ".mp2", ".mpga", ".voc", ".sph"),
    *(".m4a", ".m4b", ".m4r", ".aac", ".mp4", ".3gp", ".3g2", ".wma", ".mka", ".mkv", ".webm"),
    *(".wv", ".tta", ".ape", ".ac3", ".eac3", ".dts", ".amr"),
)
_RATES_HZ = range(1_000, 1_000_001)  # outside of these a header is wrong, and resampling explodes

Float32 = npt.NDArray[np.float32]


class RejectedRecording(Exception):  # noqa: N818 - an outcome that the job counts, not a fault of it
    """A recording that cannot be used: the stage, a reason to count by, and the detail."""

    def __init__(self, stage: str, reason: str, detail: str) -> None:
        super().__init__(f"{stage}: {reason}: {detail}")
        self.stage, self.reason, self.detail = stage, reason, detail


class BrokenFile(RejectedRecording):
    """A recording whose bytes are not those of a whole file, whichever decoder reads it."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__("decode", reason, detail)


@dataclass(frozen=True)
class Audio:
    """A recording that is being decoded: its rate, and blocks of samples ``[n, n_channels]``."""

    sample_rate_hz: int
    blocks: Iterator[Float32]


def check_rate(sample_rate_hz: int) -> int:
    """Return the rate, or reject the recording if no microphone has it."""
    if sample_rate_hz not in _RATES_HZ:
        detail = (
            f"the header says {sample_rate_hz} Hz; supported are {_RATES_HZ[0]} to {_RATES_HZ[-1]}"
        )
        raise RejectedRecording("decode", "sample_rate", detail)
    return sample_rate_hz
