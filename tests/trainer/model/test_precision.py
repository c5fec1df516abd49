from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from beam_features.schema.dataset_info import Moments
from dem.errors import InputError
from tests.trainer.synthetic import SPEC
from trainer.config import Architecture, ResolvedConfig
from trainer.model import precision
from trainer.model.encoders import build_encoder
from trainer.model.export import export_encoder
from trainer.model.files import load_keras
from trainer.model.optimizer import build_optimizer, prepare_optimizer
from trainer.model.precision import check_jit, computing_in, scaled, warnings_about

MOMENTS = Moments.of(np.random.default_rng(0).normal(-4, 2, (8, *SPEC.tile_shape)))


def encoder_in(policy: str) -> keras.Model:
    with computing_in(policy):
        return build_encoder(Architecture("conv2d"), SPEC.tile_shape, 8, MOMENTS, seed=0)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_only_what_is_between_normalisation_and_embedding_is_in_half(policy: str) -> None:
    encoder = encoder_in(policy)
    half = policy.removeprefix("mixed_")
    computed = {layer.name: layer.compute_dtype for layer in encoder.layers}
    assert computed.pop("normalise") == computed.pop("embed") == "float32"
    assert {dtype for name, dtype in computed.items() if name != "log_mel"} == {half}
    assert {variable.dtype for variable in encoder.trainable_variables} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"


def test_the_export_of_a_mixed_encoder_is_in_single_precision(tmp_path: Path) -> None:
    """It is the encoder that float32 would have with these weights; in half it differs."""
    mixed, single = encoder_in("mixed_bfloat16"), encoder_in("float32")
    export_encoder(mixed, SPEC, str(tmp_path))
    exported = load_keras(str(tmp_path / "export" / "encoder.keras"))
    tiles = np.random.default_rng(1).normal(-4, 2, (4, *SPEC.tile_shape)).astype(np.float32)
    expected = np.asarray(single(tiles))
    np.testing.assert_allclose(np.asarray(exported(tiles)), expected, rtol=1e-5, atol=1e-5)
    apart = np.abs(np.asarray(mixed(tiles)) - expected).max()
    assert 1e-4 < apart < 0.1


def test_the_loss_scale_is_taken_back_and_halved_when_a_gradient_overflows() -> None:
    weight = keras.Variable([1.0])
    optimizer = build_optimizer(ResolvedConfig(precision="mixed_float16"))
    prepare_optimizer(optimizer, [weight])
    scale = float(optimizer.dynamic_scale)
    (up,) = scaled(optimizer, [tf.constant([0.25])], up=True)
    assert float(up[0]) == 0.25 * scale
    (down,) = scaled(optimizer, [up], up=False)
    assert float(down[0]) == 0.25
    optimizer.apply([tf.constant([np.inf])], [weight])
    assert float(weight[0]) == 1.0
    assert int(optimizer.iterations) == 0
    assert float(optimizer.dynamic_scale) == scale / 2
    optimizer.apply([up], [weight])
    assert float(weight[0]) < 1.0
    assert int(optimizer.iterations) == 1


def test_the_loss_scale_is_among_the_variables_that_a_checkpoint_keeps() -> None:
    optimizer = build_optimizer(ResolvedConfig(precision="mixed_float16"))
    prepare_optimizer(optimizer, [keras.Variable([1.0])])
    kept = {id(variable) for variable in optimizer.variables}
    assert {id(optimizer.dynamic_scale), id(optimizer.step_counter)} <= kept


def test_slow_precision_is_told_and_fast_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu_info = tmp_path / "cpuinfo"
    cpu_info.write_text("flags : avx2 avx512_bf16\n")
    monkeypatch.setattr(precision, "_CPU_INFO", cpu_info)
    assert warnings_about("float32", on_gpu=False) == []
    assert warnings_about("mixed_bfloat16", on_gpu=False) == []
    (warning,) = warnings_about("mixed_float16", on_gpu=False)
    assert warning.startswith("this CPU has no avx512_fp16: precision=mixed_float16 is slower")


def test_xla_is_refused_where_batch_norm_crosses_replicas() -> None:
    encoder = encoder_in("float32")
    check_jit(encoder, replicas=1)
    with pytest.raises(InputError, match="jit_compile=true does not work on 2 replicas"):
        check_jit(encoder, replicas=2)
