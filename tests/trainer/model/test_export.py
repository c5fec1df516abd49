"""Exported models: loaded without our code, with the features they are for written into them."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from beam_features.schema.dataset_info import Moments
from beam_features.schema.feature_spec import FeatureSpec
from dem.errors import InputError
from tests.trainer.models import noise
from tests.trainer.synthetic import SPEC
from trainer.config import Architecture
from trainer.data.features import Features
from trainer.model.encoders import build_encoder
from trainer.model.export import export_encoder
from trainer.model.files import load_keras, save_keras
from trainer.model.load import model_sha256, open_model

STRANGER = """
import json, sys
import numpy as np
import keras, tensorflow as tf

export, samples, tiles, output = sys.argv[1:]
assert "trainer" not in sys.modules and "beam_features" not in sys.modules
model = tf.saved_model.load(f"{export}/saved_model")
encoder = keras.saving.load_model(f"{export}/encoder.keras", safe_mode=True)
embedded = model(np.load(samples))
serve = model.signatures["serving_default"]
np.savez(
    output,
    embeddings=embedded["embeddings"],
    start_s=embedded["start_s"],
    served=serve(waveform=tf.constant(np.load(samples)))["embeddings"],
    tiles=model.tiles(np.load(tiles))["embeddings"],
    keras=encoder(np.load(tiles), training=False),
)
try:
    import trainer
except ImportError:
    sys.exit(0)
sys.exit("our code is there, so this shows nothing")
"""


def tiles(n: int) -> np.ndarray:
    return np.random.default_rng(0).normal(-5, 3, (n, *SPEC.tile_shape)).astype(np.float32)


@pytest.fixture(scope="module")
def encoder(features: Features) -> keras.Model:
    architecture = Architecture("conv_dense", 0.25, 2, centring=True)
    return build_encoder(architecture, SPEC.tile_shape, 8, features.info.moments(["train"]), 0)


@pytest.fixture(scope="module")
def job(encoder: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    job = tmp_path_factory.mktemp("export") / "job"
    export_encoder(encoder, SPEC, str(job))
    (job / "config.yaml").touch()
    return job


def test_both_models_load_without_our_code(encoder: keras.Model, job: Path, tmp_path: Path) -> None:
    loaded = ask_a_stranger(job, noise(16_000), tiles(3), tmp_path)
    ours = open_model(str(job)).embed_waveform(noise(16_000), 16_000)
    np.testing.assert_array_equal(loaded["embeddings"], ours[0])
    np.testing.assert_array_equal(loaded["served"], ours[0])
    np.testing.assert_array_equal(loaded["start_s"], ours[1])
    expected = np.asarray(encoder(tiles(3), training=False))
    np.testing.assert_allclose(loaded["tiles"], expected, atol=1e-5)
    np.testing.assert_allclose(loaded["keras"], expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["dense", "conv1d", "gru", "conv_gru", "resnet50", "mobilenet_v3_small"]
)
def test_encoders_of_every_kind_load_without_our_code(name: str, tmp_path: Path) -> None:
    """With weights away from their start, and 40 tiles: two blocks in the waveform's graph."""
    spec = FeatureSpec()
    values = np.random.default_rng(0).normal(-6, 2, (4, *spec.tile_shape)).astype(np.float32)
    encoder = build_encoder(Architecture(name), spec.tile_shape, 8, Moments.of(values), seed=0)
    encoder(values, training=True)  # moves the statistics of batch norm
    export_encoder(encoder, spec, str(tmp_path / "job"))
    loaded = ask_a_stranger(tmp_path / "job", noise(640_000), values, tmp_path)
    expected = np.asarray(encoder(values, training=False))
    np.testing.assert_allclose(loaded["tiles"], expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(loaded["keras"], expected, rtol=1e-3, atol=1e-3)
    assert loaded["embeddings"].shape == (40, 8)
    np.testing.assert_allclose(loaded["served"], loaded["embeddings"], rtol=1e-3, atol=1e-3)


def ask_a_stranger(
    job: Path, samples: np.ndarray, tiles: np.ndarray, tmp_path: Path
) -> dict[str, np.ndarray]:
    """In isolated mode, elsewhere, and without the path entries of an editable installation."""
    np.save(tmp_path / "samples.npy", samples)
    np.save(tmp_path / "tiles.npy", tiles)
    site = str(Path(tf.__file__).parents[1])
    code = f"import sys; sys.path.append({site!r}); {STRANGER}"
    (tmp_path / "stranger.py").write_text(code.replace("import sys; ", "import sys\n", 1))
    names = (job / "export", "samples.npy", "tiles.npy", "out.npz")
    subprocess.run(
        [sys.executable, "-I", "-S", "stranger.py", *map(str, names)],
        cwd=tmp_path,
        check=True,
        timeout=120,
    )
    return dict(np.load(tmp_path / "out.npz"))


def test_all_three_ways_to_name_a_model_give_the_same(encoder: keras.Model, job: Path) -> None:
    expected = np.asarray(encoder(tiles(3), training=False))
    for name in ("", "export/saved_model/", "export/encoder.keras"):
        model = open_model(str(job / name) + ("/" if name.endswith("/") else ""))
        assert model.spec == SPEC
        assert model.embedding_size == 8
        np.testing.assert_allclose(model.embed_tiles(tiles(3)), expected, atol=1e-5)
        embeddings, start_s = model.embed_waveform(noise(16_000), 16_000)
        assert embeddings.shape == (6, 8)
        np.testing.assert_allclose(start_s, 0.16 * np.arange(6), atol=1e-6)


def test_the_features_stand_in_both(job: Path) -> None:
    saved = json.loads((job / "export/saved_model/assets/feature_spec.json").read_text())
    with zipfile.ZipFile(job / "export/encoder.keras") as archive:
        beside = json.loads(archive.read("feature_spec.json"))
    assert saved == beside
    assert saved["fingerprint"] == SPEC.fingerprint
    assert saved["feature_spec"]["sample_rate_hz"] == 16_000


def test_the_digest_tells_models_apart(encoder: keras.Model, job: Path, tmp_path: Path) -> None:
    one = model_sha256(str(job / "export/saved_model"))
    assert one == model_sha256(str(job / "export/saved_model"))
    other = keras.models.clone_model(encoder)
    export_encoder(other, SPEC, str(tmp_path))
    assert model_sha256(str(tmp_path / "export/saved_model")) != one


def test_a_model_trained_in_bfloat16_is_served_in_float32(tmp_path: Path) -> None:
    log_mel = keras.Input(SPEC.tile_shape)
    hidden = keras.layers.Dense(32, dtype="mixed_bfloat16")(keras.layers.Flatten()(log_mel))
    mixed = keras.Model(log_mel, keras.layers.Dense(8, dtype="mixed_bfloat16")(hidden))
    assert mixed.output.dtype == "bfloat16"
    export_encoder(mixed, SPEC, str(tmp_path))
    vectors = open_model(str(tmp_path / "export/saved_model")).embed_tiles(tiles(5))
    assert vectors.dtype == np.float32
    first, second = (layer for layer in mixed.layers if isinstance(layer, keras.layers.Dense))
    exact = tiles(5).reshape(5, -1) @ np.asarray(first.kernel) @ np.asarray(second.kernel)
    np.testing.assert_allclose(vectors, exact, atol=1e-3)
    np.testing.assert_allclose(
        load_keras(str(tmp_path / "export/encoder.keras"))(tiles(5)), exact, atol=1e-3
    )


def test_layers_within_layers_are_served_in_float32(tmp_path: Path) -> None:
    inner = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4, dtype="mixed_bfloat16")])
    log_mel = keras.Input(SPEC.tile_shape)
    pooled = keras.layers.GlobalAveragePooling1D()(keras.layers.Dense(8)(log_mel))
    export_encoder(keras.Model(log_mel, inner(pooled)), SPEC, str(tmp_path))
    loaded = load_keras(str(tmp_path / "export/encoder.keras"))
    assert {layer.compute_dtype for layer in loaded._flatten_layers()} == {"float32"}
    outer, inner = loaded.layers[1], loaded.layers[-1].layers[-1]
    exact = (tiles(5) @ np.asarray(outer.kernel)).mean(axis=1) @ np.asarray(inner.kernel)
    vectors = open_model(str(tmp_path / "export/saved_model")).embed_tiles(tiles(5))
    np.testing.assert_allclose(vectors, exact, atol=1e-4)


def test_variables_mirrored_over_replicas_are_exported(features: Features, tmp_path: Path) -> None:
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        moments = features.info.moments(["train"])
        encoder = build_encoder(Architecture("conv2d", 0.25, 2), SPEC.tile_shape, 8, moments, 0)
    export_encoder(encoder, SPEC, str(tmp_path))
    vectors = open_model(str(tmp_path / "export/saved_model")).embed_tiles(tiles(3))
    expected = np.asarray(encoder(tiles(3), training=False))
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_what_is_no_model_is_refused(job: Path, encoder: keras.Model, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing' is not a model; give a job directory"):
        open_model(str(tmp_path / "nothing"))
    (tmp_path / "config.yaml").touch()
    with pytest.raises(InputError, match="saved_model does not exist: finish the training"):
        open_model(str(tmp_path))
    save_keras(encoder, str(tmp_path / "foreign.keras"))
    with pytest.raises(InputError, match=r"foreign\.keras holds no feature_spec\.json"):
        open_model(str(tmp_path / "foreign.keras"))


def scaled(samples: np.ndarray, dtype: str) -> np.ndarray:
    """As a file of this type holds them; 16-bit values are exact in all types."""
    int16 = np.rint(samples * 2**15).astype(np.int16)
    return {
        "int16": int16,
        "int32": int16.astype(np.int32) << 16,
        "float32": int16.astype(np.float32) / 2**15,
        "float64": int16.astype(np.float64) / 2**15,
    }[dtype]


@pytest.mark.parametrize("name", ["export/saved_model", "export/encoder.keras"])
def test_waveforms_of_all_types_give_the_same_vectors(job: Path, name: str) -> None:
    model = open_model(str(job / name))
    expected, start_s = model.embed_waveform(scaled(noise(16_000), "float32"), 16_000)
    for dtype in ("float32", "float64", "int16", "int32"):
        waveform = scaled(noise(16_000), dtype)
        embedded = model._functions(waveform, np.int32(16_000))
        np.testing.assert_allclose(embedded["embeddings"], expected, atol=1e-6)
        np.testing.assert_allclose(embedded["start_s"], start_s)
        sliding = model._functions.sliding(waveform, 16)["embeddings"]
        np.testing.assert_allclose(sliding, expected, atol=1e-6)
        np.testing.assert_allclose(model.embed_waveform(waveform, 16_000)[0], expected, atol=1e-6)


STEREO = (noise(32_000).reshape(2, -1), "the waveform has shape {}, not [samples]: give one chann")
BROKEN = (np.array([0.5, np.nan], np.float32), "the waveform holds NaN or infinite samples")
LOUD = (np.array([0.5, np.inf], np.float32), "the waveform holds NaN or infinite samples")


@pytest.mark.parametrize(("waveform", "message"), [STEREO, BROKEN, LOUD])
def test_a_saved_model_says_what_is_wrong_with_a_waveform(
    job: Path, waveform: np.ndarray, message: str
) -> None:
    loaded = tf.saved_model.load(str(job / "export/saved_model"))
    for call in (loaded, lambda waveform: loaded.sliding(waveform, 5)):
        with pytest.raises(tf.errors.InvalidArgumentError) as error:
            call(waveform)
        assert message.format("[2 16000]") in str(error.value)
    with pytest.raises(InputError) as refusal:
        open_model(str(job)).embed_waveform(waveform, 16_000)
    assert message.format("(2, 16000)") in str(refusal.value)


def test_another_rate_is_refused_with_both_rates(job: Path) -> None:
    message = "the waveform has 44100 Hz, the model takes 16000 Hz: resample it"
    loaded = tf.saved_model.load(str(job / "export/saved_model"))
    assert loaded(noise(16_000), 16_000)["embeddings"].shape == (6, 8)
    for waveform in (noise(44_100), scaled(noise(44_100), "int16")):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            loaded(waveform, 44_100)
    with pytest.raises(InputError, match=message):
        open_model(str(job)).embed_waveform(noise(44_100), 44_100)


def test_other_types_are_refused(job: Path) -> None:
    with pytest.raises(InputError, match="the waveform is uint8; give one of: float32, float64, i"):
        open_model(str(job)).embed_waveform(np.zeros(16_000, np.uint8), 16_000)
