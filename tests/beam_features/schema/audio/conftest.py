"""Files that ffmpeg encodes."""

import subprocess
from collections.abc import Callable

import numpy as np
import pytest
import soundfile

from tests.beam_features.encoded import RATE_HZ


@pytest.fixture(scope="session")
def convert(ffmpeg, tmp_path_factory) -> Callable[..., bytes]:
    """Encode samples by ffmpeg into a file of that name; give its bytes."""
    folder = tmp_path_factory.mktemp("ffmpeg")

    def convert(samples: np.ndarray, name: str, *options: str, rate_hz: int = RATE_HZ) -> bytes:
        source, target = folder / "source.wav", folder / name
        soundfile.write(source, samples, rate_hz, subtype="FLOAT")
        words = [ffmpeg, "-nostdin", "-v", "error", "-y", "-i", source, *options, target]
        subprocess.run(words, check=True)
        return target.read_bytes()

    return convert
