"""Memory and speed of embedding audio files: `python -m benchmarks.embed [--model MODEL]`.

Makes noise of 10 minutes and of 3 hours, and embeds in processes of their own: the short one, then
both in one run. Prints the peak of the resident memory, tiles per second without the start, and
what the SavedModel takes that gets the whole waveform at once.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from beam_features.schema.dataset_info import Moments
from beam_features.schema.feature_spec import FeatureSpec
from trainer.config import Architecture
from trainer.model.encoders import build_encoder
from trainer.model.export import export_encoder

_SPEC = FeatureSpec()
_RATE_HZ = 44_100
_SHORT_S, _LONG_S = 600, 10_800
_BLOCK_S = 10


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", help="default: an untrained conv2d")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    known = parser.parse_args(arguments)
    if known.child:
        _measure(*known.child)
        return
    with tempfile.TemporaryDirectory() as home:
        model = known.model or _untrained(home)
        short, long = (write_noise(Path(home) / f"{s}.flac", s) for s in (_SHORT_S, _LONG_S))
        for kind in ("stream", "whole"):
            for files in ([short], [short, long]):
                command = [sys.executable, "-m", "benchmarks.embed", "--child", kind, model]
                output = str(Path(home) / f"{kind}-{len(files)}")
                subprocess.run([*command, output, *files], check=True)  # noqa: S603 - this program


def write_noise(path: Path, seconds: int) -> str:
    """Write a stereo FLAC, block by block."""
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", _RATE_HZ, 2) as file:
        for _ in range(seconds // _BLOCK_S):
            file.write(rng.normal(0, 0.05, (_BLOCK_S * _RATE_HZ, 2)))
    return str(path)


def _untrained(home: str) -> str:
    tiles = np.random.default_rng(0).normal(-6, 2, (20, *_SPEC.tile_shape))
    moments = Moments.of(tiles)
    encoder = build_encoder(Architecture("conv2d"), _SPEC.tile_shape, 256, moments, seed=0)
    export_encoder(encoder, _SPEC, home)
    return str(Path(home) / "export/saved_model")


def _measure(kind: str, model: str, output: str, *files: str) -> None:
    """Embed in this process; print what it took."""
    from trainer.model.load import open_model

    exported = open_model(model)
    exported.embed_tiles(np.zeros((64, *exported.spec.tile_shape), np.float32))
    before = _peak_mib()
    start = time.perf_counter()
    if kind == "stream":
        _stream(model, output, files)
    else:
        _whole(model, files)
    took_s = time.perf_counter() - start
    seconds = sum(soundfile.info(file).duration for file in files)
    print(
        f"{kind}, {seconds / 60:.0f} min: {_peak_mib():.0f} MiB (loaded: {before:.0f}), "
        f"{seconds / _SPEC.tile_s / took_s:.0f} tiles/s",
        flush=True,
    )


def _stream(model: str, output: str, files: Sequence[str]) -> None:
    from trainer.embed.recordings import embed_recordings

    embed_recordings(
        model,
        files,
        output,
        overwrite=True,
        max_failure_rate=0,
        stop_if_terminated=lambda: None,
    )


def _whole(model: str, files: Sequence[str]) -> None:
    """Decode all of a file, then call the model with its waveform, as version 0.2 did."""
    from beam_features.schema.audio.decode import decode
    from trainer.model.load import open_model

    exported = open_model(model)
    for uri in files:
        with open(uri, "rb") as file:
            waveform = np.ascontiguousarray(decode(file, exported.spec)[:, 0])
        exported.embed_waveform(waveform, exported.spec.sample_rate_hz)


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
