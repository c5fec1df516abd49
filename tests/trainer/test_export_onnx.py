"""The ONNX export, held against the SavedModel, where the `onnx` extra is installed."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from beam_features.schema.feature_spec import FeatureSpec, dump_feature_spec
from tests.processes import error_line, run
from tests.trainer.models import make_encoder, noise
from trainer.model.export import export_encoder
from trainer.model.load import open_model

INSTALLED = find_spec("tf2onnx") is not None and find_spec("onnxruntime") is not None


@pytest.mark.slow
@pytest.mark.skipif(not INSTALLED, reason="the onnx extra is not installed")
def test_onnx_gives_what_the_saved_model_gives(tmp_path: Path) -> None:
    """But for the rounding to float16, which the converter takes for superfluous."""
    import onnxruntime

    export_encoder(make_encoder(FeatureSpec()), FeatureSpec(), str(tmp_path))
    output = tmp_path / "model.onnx"
    finished = run("trainer.export_onnx", "--job-dir", tmp_path, "--output", output)
    assert finished.returncode == 0, finished.stderr
    session = onnxruntime.InferenceSession(output)
    assert session.get_modelmeta().custom_metadata_map == {
        "feature_spec.json": dump_feature_spec(FeatureSpec())
    }
    model = open_model(str(tmp_path / "export/saved_model"))
    for n_samples in (0, 5_000, 80_000, 16_000 * 70):
        embeddings, start_s = session.run(["embeddings", "start_s"], {"waveform": noise(n_samples)})
        expected, expected_start_s = model.embed_waveform(noise(n_samples), 16_000)
        np.testing.assert_allclose(embeddings, expected, atol=1e-2)
        np.testing.assert_array_equal(start_s, expected_start_s)


@pytest.mark.skipif(INSTALLED, reason="the onnx extra is installed")
def test_without_the_extra_the_command_names_it(tmp_path: Path) -> None:
    refused = run("trainer.export_onnx", "--job-dir", tmp_path, "--output", tmp_path / "x.onnx")
    assert refused.returncode == 2
    assert "install the onnx extra" in error_line(refused)
