"""Corrupt files: each ends as tiles or with a reason, and the good ones are not affected."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from beam_features.schema.dataset_info import parse_dataset_info
from beam_features.schema.feature_spec import FeatureSpec
from tests.beam_features.encoded import RATE_HZ, encode, noisy_tone

FORMS = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
HEADER_BYTES = 64
REASONS = {
    *("truncated", "not_audio", "undecodable", "no_samples", "not_finite", "sample_rate"),
    *("unsupported_codec", "unknown_length", "out_of_range"),
}


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Change some bytes of the header, of the body, or cut, repeat or insert a piece."""
    damaged = bytearray(data)
    kind = rng.choice(["header", "body", "bits", "cut", "repeat", "insert", "zeros"])
    here = int(rng.integers(len(damaged)))
    n_bytes = int(rng.integers(1, 400))
    if kind == "header":
        for position in rng.integers(0, HEADER_BYTES, rng.integers(1, 8)):
            damaged[position] = rng.integers(256)
    elif kind == "body":
        for position in rng.integers(0, len(damaged), rng.integers(1, 50)):
            damaged[position] = rng.integers(256)
    elif kind == "bits":
        damaged[int(rng.integers(HEADER_BYTES))] ^= 1 << int(rng.integers(8))
    elif kind == "cut":
        del damaged[here : here + n_bytes]
    elif kind == "repeat":
        damaged[here:here] = damaged[here : here + n_bytes]
    elif kind == "insert":
        damaged[here:here] = rng.bytes(n_bytes)
    else:
        damaged[here : here + n_bytes] = bytes(len(damaged[here : here + n_bytes]))
    return bytes(damaged)


@pytest.fixture(scope="module", params=[250, pytest.param(1000, marks=pytest.mark.slow)])
def n_files(request) -> int:
    """How many files are corrupt."""
    return int(request.param)


@pytest.fixture(scope="module")
def folders(n_files, tmp_path_factory) -> tuple[Path, Path]:
    """Good files alone, and the same among corrupt ones."""
    rng = np.random.default_rng(0)
    home = tmp_path_factory.mktemp("fuzz")
    good, mixed = home / "good", home / "mixed"
    for folder in (good, mixed):
        for suffix, form in FORMS.items():
            path = folder / "good" / f"{suffix}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode(noisy_tone(2.0), *form))
    originals = {
        suffix: [
            encode(noisy_tone(1.5, rate_hz).repeat(channels).reshape(-1, channels), *form, rate_hz)
            for rate_hz, channels in ((RATE_HZ, 1), (44_100, 2))
        ]
        for suffix, form in FORMS.items()
    }
    (mixed / "bad").mkdir()
    for index in range(n_files):
        suffix = list(FORMS)[index % len(FORMS)]
        original = originals[suffix][int(rng.integers(2))]
        (mixed / "bad" / f"{index:04d}.{suffix}").write_bytes(mutate(original, rng))
    return good, mixed


def tiles_of_good_files(output: Path, read_strips) -> dict[str, bytes]:
    shards = sorted(output.glob("*.tfrecord"))
    strips = [strip for shard in shards for strip in read_strips(shard, FeatureSpec())]
    good = [strip for strip in strips if strip.context_id.startswith("good/")]
    return {strip.context_id: strip.log_mel.tobytes() for strip in good}


def test_every_file_ends_as_tiles_or_as_a_reason(
    folders, n_files, run_job, no_ffmpeg, tmp_path, read_strips
):
    good, mixed = folders
    for source, output in ((good, tmp_path / "good"), (mixed, tmp_path / "mixed")):
        assert run_job(source, output, "--max-failure-rate", "1") == 0
    info = parse_dataset_info((tmp_path / "mixed" / "dataset_info.json").read_text(), "")
    rejected = [
        json.loads(line)
        for path in (tmp_path / "mixed").glob("rejected-*.jsonl")
        for line in path.read_text().splitlines()
    ]
    reasons = Counter(line["reason"] for line in rejected)
    used = sum(part.recordings for part in info.partitions.values())
    assert used + len(rejected) == n_files + len(FORMS)
    assert len({line["uri"] for line in rejected}) == len(rejected)
    assert dict(reasons) == info.rejected
    assert set(reasons) <= REASONS
    assert min(reasons["truncated"], reasons["not_audio"], reasons["undecodable"]) > 10

    alone = tiles_of_good_files(tmp_path / "good", read_strips)
    assert len(alone) == len(FORMS)
    assert tiles_of_good_files(tmp_path / "mixed", read_strips) == alone
