"""Embedding recordings of a bucket into a bucket: streamed, and again after a change."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from beam_features.schema.feature_spec import FeatureSpec
from tests.buckets.commands import run_in
from tests.buckets.storage_service import StorageService
from tests.trainer.models import make_encoder
from trainer.model.export import export_encoder

SPEC = FeatureSpec(n_mels=16, tile_s=0.16)


def write(path: Path, seed: int) -> Path:
    path.parent.mkdir(exist_ok=True)
    soundfile.write(path, np.random.default_rng(seed).normal(0, 0.1, 32_000), 16_000)
    return path


@pytest.mark.slow
def test_reruns_in_a_bucket_keep_unchanged_objects(
    gcs: StorageService, bucket: str, tmp_path: Path
) -> None:
    export_encoder(make_encoder(SPEC), SPEC, str(tmp_path))
    for number in range(3):
        write(tmp_path / f"audio/{number}.wav", number)
    audio = gcs.upload(tmp_path / "audio", bucket, "audio")
    model = tmp_path / "export/encoder.keras"
    words = ("trainer.embed", "--model", model, "--input", audio, "--output")
    out, fresh = f"gs://{bucket}/out", f"gs://{bucket}/fresh"
    finished = run_in(gcs, *words, out)
    assert finished.returncode == 0, finished.stderr
    for path in (tmp_path / "audio").iterdir():
        path.unlink()
    write(tmp_path / "audio/1.wav", 10)  # of the same size: the generation differs
    write(tmp_path / "audio/9.wav", 9)
    gcs.upload(tmp_path / "audio", bucket, "audio")
    finished = run_in(gcs, *words, out)
    assert finished.returncode == 0, finished.stderr
    assert "1 new, 1 changed, 2 kept, 0 gone" in finished.stderr
    finished = run_in(gcs, *words, fresh)
    assert finished.returncode == 0, finished.stderr
    names = [name for name in gcs.names(bucket) if name.startswith("out/")]
    assert names == [
        *("out/_embeddings_info.json", "out/_sources.parquet", "out/recordings.parquet")
    ]
    for name in ("_sources.parquet", "recordings.parquet"):
        assert gcs.read(bucket, f"out/{name}") == gcs.read(bucket, f"fresh/{name}")
