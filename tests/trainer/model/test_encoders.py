import functools
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from beam_features.schema.dataset_info import Moments
from dem.errors import InputError
from trainer.choices import ENCODERS
from trainer.config import Architecture
from trainer.model.encoders import build_encoder, build_projector
from trainer.model.files import load_keras, save_keras

TILE_SHAPE = (100, 64)
PREBUILT = ("mobilenet_v3_small", "efficientnet_v2_b0")
SLOW = ("resnet34", "resnet50", "resnet101", "resnet152", *PREBUILT)
EVERY_ENCODER = [
    pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in ENCODERS
]


def tiles(n: int, tile_shape: tuple[int, int] = TILE_SHAPE) -> np.ndarray:
    return np.random.default_rng(0).normal(-6, 2, (n, *tile_shape)).astype(np.float32)


def norms(encoder: keras.Model) -> list[keras.layers.BatchNormalization]:
    layers = encoder._flatten_layers()
    return [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]


def trained_parameters(layers: Sequence[keras.Layer]) -> int:
    return sum(int(np.prod(v.shape)) for layer in layers for v in layer.trainable_variables)


@pytest.fixture(scope="module")
def moments() -> Moments:
    return Moments.of(tiles(20))


def small(name: str) -> Architecture:
    """For tests that do not depend on the number of channels."""
    return Architecture(name, 1.0 if name in PREBUILT else 0.25)


@functools.cache
def untrained(name: str) -> keras.Model:
    """For tests that leave it as it is, but for the moving statistics."""
    return build_encoder(Architecture(name), TILE_SHAPE, 8, Moments.of(tiles(20)), seed=0)


def normalised(values: np.ndarray, moments: Moments) -> np.ndarray:
    encoder = build_encoder(Architecture("conv2d"), TILE_SHAPE, 8, moments, seed=0)
    layer = encoder.get_layer("normalise")
    return np.asarray(keras.Model(encoder.input, layer.output)(values))


def test_every_mel_bin_is_normalised_with_the_moments(moments: Moments) -> None:
    values = normalised(tiles(20).astype(np.float16).astype(np.float32), moments)
    np.testing.assert_allclose(values.mean(axis=(0, 1)), 0, atol=1e-4)
    np.testing.assert_allclose(values.std(axis=(0, 1)), 1, atol=1e-4)


def test_a_bin_that_never_changes_does_not_explode() -> None:
    constant = np.full((4, *TILE_SHAPE), -13.8, np.float16)
    assert np.abs(normalised(constant.astype(np.float32), Moments.of(constant))).max() < 10


@pytest.mark.parametrize("tile_shape", [(100, 64), (50, 40), (498, 128)])
@pytest.mark.parametrize("name", EVERY_ENCODER)
def test_tiles_of_any_shape_become_float32_embeddings(
    name: str, tile_shape: tuple[int, int]
) -> None:
    encoder = build_encoder(small(name), tile_shape, 8, Moments.of(tiles(4, tile_shape)), seed=0)
    assert encoder.output_shape == (None, 8)
    assert encoder.output.dtype == "float32"
    if tile_shape == (50, 40):
        embeddings = encoder(tiles(2, tile_shape), training=False)
        assert embeddings.shape == (2, 8)
        assert embeddings.dtype == "float32"
        assert np.isfinite(embeddings).all()


@pytest.mark.parametrize("name", PREBUILT)
@pytest.mark.parametrize("tile_shape", [(31, 64), (100, 31)])
def test_tiles_too_small_for_a_prebuilt_model_are_named(
    name: str, tile_shape: tuple[int, int]
) -> None:
    message = f"'{name}' takes .* 32 frames .* these have {tile_shape[0]} x {tile_shape[1]}; choose"
    with pytest.raises(InputError, match=message):
        build_encoder(Architecture(name), tile_shape, 8, Moments.of(tiles(4, tile_shape)), seed=0)


@pytest.mark.parametrize("name", sorted(set(ENCODERS) - set(SLOW)))
def test_the_smallest_tiles_do_for_the_others(name: str) -> None:
    encoder = build_encoder(small(name), (1, 1), 8, Moments.of(tiles(4, (1, 1))), seed=0)
    assert encoder(tiles(2, (1, 1))).shape == (2, 8)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("dense", 6_400 * 512 + 512 * 512 + 2 * 2 * 512),
        ("conv1d", 3 * (64 * 128 + 128 * 128 + 128 * 256 + 256 * 256) + 2 * (2 * 128 + 2 * 256)),
        ("conv2d", 388_320),
        ("gru", 3 * 256 * ((64 + 256 + 2) + (256 + 256 + 2))),
        (
            "conv_gru",
            9 * (1 * 32 + 32 * 64 + 64 * 128) + 2 * (32 + 64 + 128) + 768 * (8 * 128 + 256 + 2),
        ),
        ("conv_dense", 388_320 + (4 * 256) * 512 + 2 * 512),
        ("resnet18", 11_170_240),
        pytest.param("resnet34", 21_797_672 - 513_000 - 6_272, marks=pytest.mark.slow),
        pytest.param("resnet50", 25_557_032 - 2_049_000 - 6_272, marks=pytest.mark.slow),
        pytest.param("resnet101", 44_549_160 - 2_049_000 - 6_272, marks=pytest.mark.slow),
        pytest.param("resnet152", 60_192_808 - 2_049_000 - 6_272, marks=pytest.mark.slow),
        pytest.param("mobilenet_v3_small", 926_720, marks=pytest.mark.slow),
        pytest.param("efficientnet_v2_b0", 5_858_128, marks=pytest.mark.slow),
    ],
)
def test_parameters_outside_the_embedding(name: str, parameters: int) -> None:
    """Counted by hand from kernel sizes and channels; batch norm trains two numbers a channel.

    conv2d: 9 * (1 * 32 + 32 * 64 + 64 * 128 + 128 * 256) + 2 * (32 + 64 + 128 + 256).
    GRUs: three gates, each of a matrix for the input, one for the state, and two biases.
    ResNets: those of torchvision (resnet18: 11 689 512), less the classifier (512 * 1000 + 1000, or
    2048 * 1000 + 1000) and 2 * 49 * 64 of the stem, which has one channel here in place of three.
    Prebuilt: those that Keras counts (939 120 and 5 919 312), less the moving statistics of batch
    norm (12 112 and 60 608) and 2 * 9 * 16 or 2 * 9 * 32 of the stem.
    """
    encoder = untrained(name)
    head = encoder.get_layer("embed")
    assert trained_parameters([encoder]) - trained_parameters([head]) == parameters


@pytest.mark.parametrize("name", EVERY_ENCODER)
def test_every_weight_gets_a_gradient(name: str) -> None:
    """But for some offsets in prebuilt models: a linear convolution and a norm follow on them."""
    encoder = untrained(name)
    with tf.GradientTape() as tape:
        embeddings = encoder(tiles(4), training=True)
        loss = tf.reduce_sum(embeddings * np.random.default_rng(1).normal(size=(4, 8)))
    gradients = tape.gradient(loss, encoder.trainable_variables)
    without = {
        variable.name
        for variable, gradient in zip(encoder.trainable_variables, gradients, strict=True)
        if not np.abs(gradient).max() > 1e-5
    }
    assert without == ({"beta"} if name in PREBUILT else set())


@pytest.mark.parametrize("name", EVERY_ENCODER)
def test_training_differs_by_the_statistics_of_batch_norm_only(name: str, moments: Moments) -> None:
    """With the moving statistics of this very batch, inference gives what training gives."""
    encoder = build_encoder(small(name), TILE_SHAPE, 8, moments, seed=0)
    before = np.asarray(encoder(tiles(8), training=False))
    for norm in norms(encoder):
        norm.momentum = 0.0
    trained = np.asarray(encoder(tiles(8), training=True))
    np.testing.assert_allclose(encoder(tiles(8), training=False), trained, rtol=1e-3, atol=1e-3)
    has_norms = name != "gru"
    assert bool(norms(encoder)) == has_norms
    assert (np.abs(before - trained).max() > 0.01) == has_norms


@pytest.mark.parametrize("name", EVERY_ENCODER)
def test_norms_are_synchronised_and_nothing_is_dropped(name: str) -> None:
    encoder = untrained(name)
    assert {(norm.synchronized, norm.momentum) for norm in norms(encoder)} <= {(True, 0.9)}
    assert {getattr(layer, "rate", 0.0) for layer in encoder._flatten_layers()} == {0.0}


@pytest.mark.parametrize("name", ["gru", "conv_gru"])
def test_cudnn_computes_the_recurrence(name: str) -> None:
    """Its conditions, from the documentation of `keras.layers.GRU`."""
    layers = untrained(name).layers
    for layer in (layer for layer in layers if isinstance(layer, keras.layers.GRU)):
        assert (
            layer.get_config().items()
            >= {
                "activation": "tanh",
                "recurrent_activation": "sigmoid",
                "dropout": 0.0,
                "recurrent_dropout": 0.0,
                "unroll": False,
                "use_bias": True,
                "reset_after": True,
            }.items()
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["conv_gru", "resnet18", "mobilenet_v3_small"])
def test_two_replicas_compute_what_one_does(name: str) -> None:
    """In training, where batch norm takes its statistics from the whole batch.

    In a process of its own: TensorFlow mixes up the sums of two strategies in one process.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        one, two = pool.submit(one_and_two_replicas, name).result(timeout=300)
    np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-4)


def one_and_two_replicas(name: str) -> tuple[np.ndarray, np.ndarray]:
    import tests.conftest  # noqa: F401  # makes two logical CPUs

    moments = Moments.of(tiles(20))
    one = build_encoder(Architecture(name), TILE_SHAPE, 8, moments, seed=0)(tiles(8), training=True)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        encoder = build_encoder(Architecture(name), TILE_SHAPE, 8, moments, seed=0)
    halves = strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(np.split(tiles(8), 2)[context.replica_id_in_sync_group])
    )
    forward = tf.function(
        lambda: strategy.run(lambda half: encoder(half, training=True), args=(halves,))
    )
    two = strategy.experimental_local_results(forward())
    return np.asarray(one), np.concatenate(two)


@pytest.mark.parametrize("name", EVERY_ENCODER)
def test_saved_encoder_loads_in_safe_mode_and_gives_the_same(name: str, tmp_path: Path) -> None:
    encoder = untrained(name)
    uri = str(tmp_path / "export" / "encoder.keras")
    save_keras(encoder, uri)
    assert [path.name for path in (tmp_path / "export").iterdir()] == ["encoder.keras"]
    embeddings = np.asarray(encoder(tiles(3), training=False))
    assert embeddings.shape == (3, 8)
    np.testing.assert_array_equal(load_keras(uri)(tiles(3), training=False), embeddings)


@pytest.mark.parametrize("name", EVERY_ENCODER)
def test_the_seed_decides_the_weights(name: str, moments: Moments) -> None:
    encoders = (build_encoder(small(name), TILE_SHAPE, 8, moments, seed) for seed in (1, 1, 2))
    first, again, other = ([v.numpy() for v in e.trainable_variables] for e in encoders)
    for one, same, changed in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(one, same)
        if one.std() > 0:  # biases and norms begin with zeros or ones
            assert np.abs(one - changed).max() > 0.001


@pytest.mark.parametrize("sizes", [(None,), (5,), (5, 7)])
def test_projections_have_length_one(sizes: tuple[int | None, ...]) -> None:
    """16 x 7 + 7 numbers of a hidden layer, 7 x 5 + 5 of the projection."""
    projector = build_projector(16, *sizes)
    projections = projector(np.random.default_rng(0).normal(size=(9, 16)))
    assert projections.shape == (9, sizes[0] or 16)
    np.testing.assert_allclose(np.linalg.norm(projections, axis=1), 1, rtol=1e-5)
    assert projector.count_params() == {(None,): 0, (5,): 85, (5, 7): 159}[sizes]


def test_projections_of_a_loss_of_other_vectors_keep_their_length() -> None:
    """There is batch norm before the ReLU: 4 numbers for each of its 7 values."""
    projector = build_projector(16, 5, 7, unit_length=False)
    lengths = np.linalg.norm(projector(np.random.default_rng(0).normal(size=(9, 16))), axis=1)
    assert lengths.std() > 0.1
    assert projector.count_params() == 159 + 4 * 7
    (norm,) = (x for x in projector.layers if isinstance(x, keras.layers.BatchNormalization))
    assert norm.synchronized
    embeddings = np.random.default_rng(1).normal(size=(9, 16)).astype(np.float32)
    np.testing.assert_array_equal(
        build_projector(16, None, unit_length=False)(embeddings), embeddings
    )


def test_without_a_size_the_embedding_is_what_is_pooled(moments: Moments) -> None:
    """Mean and maximum of 256 channels; the layers before are the same, number by number."""
    pooled, sized = (
        build_encoder(Architecture("conv2d"), TILE_SHAPE, size, moments, 0) for size in (None, 8)
    )
    assert pooled.output_shape == (None, 512)
    assert sized.count_params() - pooled.count_params() == 512 * 8 + 8


def test_unknown_encoder_is_named(moments: Moments) -> None:
    with pytest.raises(
        InputError, match="unknown encoder 'resnet19'; choose one of: dense, conv1d, conv2d, gru"
    ):
        build_encoder(Architecture("resnet19"), TILE_SHAPE, 8, moments, seed=0)


@pytest.mark.parametrize(
    ("architecture", "pooled"),
    [
        (Architecture("conv2d", width=0.5), 2 * 128),
        (Architecture("conv2d", depth=2), 2 * 64),
        (Architecture("conv2d", width=2, depth=5), 2 * 1024),
        (Architecture("conv1d", width=0.25, depth=1), 2 * 32),
        (Architecture("gru", width=0.125, depth=1), 2 * 32),
        (Architecture("conv_gru", width=0.5, depth=1), 2 * 128),
        (Architecture("conv_dense", width=0.5, depth=2), 2 * 256),
        (Architecture("dense", width=0.03), 16),
        (Architecture("resnet18", width=0.25), 128),
        (Architecture("resnet50", width=0.125), 256),
    ],
)
def test_width_and_depth_scale_an_encoder(
    architecture: Architecture, pooled: int, moments: Moments
) -> None:
    """What is pooled: the channels of the last layer, where mean and maximum are, twice."""
    assert build_encoder(architecture, TILE_SHAPE, None, moments, 0).output_shape == (None, pooled)


@pytest.mark.parametrize("name", ["dense", "conv1d", "conv2d", "gru", "conv_dense", "resnet18"])
def test_centring_adds_what_a_frequency_response_does_not_change(
    name: str, moments: Moments
) -> None:
    """With the weights of the values themselves at zero, a constant per mel bin has no effect."""
    architecture = Architecture(name, 0.25, centring=True)
    encoder = build_encoder(architecture, TILE_SHAPE, 8, moments, seed=0)
    x = tiles(3)
    response = np.linspace(-2, 2, x.shape[2], dtype=np.float32)
    assert np.abs(encoder(x + response) - encoder(x)).max() > 1e-3
    first = next(weight for weight in encoder.trainable_variables if weight.ndim > 1)
    kernel = first.numpy()
    kernel[..., 0 if kernel.ndim == 4 else slice(None, None, 2), :] = 0
    first.assign(kernel)
    np.testing.assert_allclose(encoder(x + response), encoder(x), atol=1e-4)


@pytest.mark.parametrize("name", ["dense", "conv1d", "conv2d", "gru", "conv_gru", "conv_dense"])
def test_more_depth_is_more_parameters(name: str, moments: Moments) -> None:
    sizes = [
        build_encoder(Architecture(name, 0.25, depth), TILE_SHAPE, 8, moments, 0).count_params()
        for depth in (1, 2, 3)
    ]
    assert sizes[1] > sizes[0] or name in (
        "dense",
        "conv_gru",
        "conv_dense",
    )  # these flatten what gets smaller
    assert len(set(sizes)) == 3


def test_what_has_one_size_says_so(moments: Moments) -> None:
    with pytest.raises(InputError, match="encoder_depth=3, but 'resnet18' has a depth of its own"):
        build_encoder(Architecture("resnet18", depth=3), TILE_SHAPE, 8, moments, 0)
    with pytest.raises(InputError, match=r"encoder_width=0.5, but 'mobilenet_v3_small' has one"):
        build_encoder(Architecture("mobilenet_v3_small", 0.5), (32, 32), 8, moments, 0)
