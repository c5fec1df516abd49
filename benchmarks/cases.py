"""The cases of `benchmarks.gpu`, in a process of their own: a JSON line per case.

``python -m benchmarks.cases SETTINGS CASES``, both JSON; each case is a list of words.
"""

import dataclasses
import functools
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.stepping import Steps, peak_gpu_mib, read_corpus
from benchmarks.traces import summarise
from trainer.config import TrainConfig
from trainer.data.features import Features, open_features
from trainer.model.export import save_waveform_encoder
from trainer.model.learner import Learner
from trainer.model.optimizer import prepare_optimizer
from trainer.model.waveform import WaveformEncoder
from trainer.train.corpus import Corpus
from trainer.train.devices import make_strategy
from trainer.train.telemetry import Profiler

MODES: dict[str, dict[str, Any]] = {
    "mixed_bfloat16": {"precision": "mixed_bfloat16"},
    "float32": {},
    "jit_compile": {"precision": "mixed_bfloat16", "jit_compile": True},
}
_GOALS = {"conv2d": 100_000, "resnet18": 40_000, "resnet50": 15_000}  # tiles/s, mixed_bfloat16
_PROFILED = (4, 8)  # steps; the first traces, and the next ones choose algorithms
_SGD_STEPS = 3
_TOLERANCE = 0.05  # of how far the farthest weight moved; rounding decides ties of max pooling
_WAVEFORM_S = 20


@dataclasses.dataclass(frozen=True)
class Bench:
    """What all cases share.

    Attributes:
        features: directory of features.
        home: for files that one case leaves to another.
        batch_size: of the global batch, or of half of it where the encoder is large.
        seconds: of steps that are timed.
    """

    features: str
    home: str
    batch_size: int
    seconds: float

    @functools.cached_property
    def opened(self) -> Features:
        """The features."""
        return open_features(self.features)

    @functools.cached_property
    def corpus(self) -> Corpus:
        """Their frames and pairs, in memory."""
        return read_corpus(self.opened, TrainConfig(batch_size=self.batch_size))

    def config(self, encoder: str, mode: str) -> TrainConfig:
        """Settings of a case."""
        large = encoder in ("resnet50", "efficientnet_v2_b0")
        size = self.batch_size // (2 if large else 1)
        return TrainConfig(encoder=encoder, batch_size=size, **MODES[mode])

    def steps(self, config: TrainConfig, **changed: Any) -> Steps:
        """A model on one device."""
        return Steps(self.opened, config, self.corpus, **changed)

    def timed(self, make: Callable[[int], float]) -> tuple[float, float]:
        """Seconds and share of waiting of a step, after warm-up."""
        make(3)  # traces, and chooses algorithms
        begin = time.perf_counter()
        make(3)
        n_steps = max(3, min(2000, int(self.seconds / (time.perf_counter() - begin) * 3)))
        begin = time.perf_counter()
        waited_s = make(n_steps)
        seconds = time.perf_counter() - begin
        return seconds / n_steps, waited_s / seconds


def device(_bench: Bench) -> dict[str, Any]:
    """What the cases run on."""
    gpus = tf.config.list_physical_devices("GPU")
    about = [tf.config.experimental.get_device_details(gpu).get("device_name") for gpu in gpus]
    return {"tensorflow": tf.__version__, "gpus": about}


def step(bench: Bench, encoder: str, mode: str) -> dict[str, Any]:
    """Tiles per second, against the same step on a resident batch."""
    peak_gpu_mib()
    config = bench.config(encoder, mode)
    steps = bench.steps(config)
    resident_s, _ = bench.timed(functools.partial(steps.make, steps.resident()))
    step_s, wait_share = bench.timed(functools.partial(steps.make, steps.input()))
    return {
        "batch_size": config.batch_size,
        "tiles_per_s": 2 * (config.batch_size or 0) / step_s,
        "goal": _GOALS.get(encoder) if mode == "mixed_bfloat16" else None,
        "step_s": step_s,
        "of_resident": step_s / resident_s,
        "wait_share": wait_share,
        "peak_gpu_mib": peak_gpu_mib(),
    }


def placements(bench: Bench, encoder: str, mode: str) -> dict[str, Any]:
    """Frames on the device, against tiles that the host cuts; in turns."""
    steps = bench.steps(bench.config(encoder, mode))
    sources = {"device": steps.input(), "host": steps.cut_on_host()}
    row: dict[str, Any] = {}
    for turn in (1, 2):
        for name, source in sources.items():
            step_s, wait_share = bench.timed(functools.partial(steps.make, source))
            row |= {f"{name}_step_s_{turn}": step_s, f"{name}_wait_share_{turn}": wait_share}
    return row


def parts(bench: Bench, encoder: str, mode: str) -> dict[str, Any]:
    """The encoder alone, and steps without augmentation and with random mining."""
    config = bench.config(encoder, mode)
    steps = bench.steps(config)
    source = steps.resident()
    tiles = next(source.batches)["tiles"]
    tiles = tf.cast(tf.reshape(tiles, [-1, *tiles.shape[2:]]), tf.float32)
    row = {"step_s": bench.timed(functools.partial(steps.make, source))[0]}
    for name, of_encoder in _encoder_alone(steps.learner.encoder, tiles).items():
        row[name] = bench.timed(of_encoder)[0]
    changes: dict[str, dict[str, Any]] = {
        "no_augment_s": {"augment": ()},
        "random_mining_s": {"mining": "random"},
    }
    for name, changed in changes.items():
        other = bench.steps(dataclasses.replace(config, **changed))
        row[name] = bench.timed(functools.partial(other.make, other.resident()))[0]
    begin = time.perf_counter()
    for _ in range(10):
        steps.make(source, 1)
    row["one_step_a_call_s"] = (time.perf_counter() - begin) / 10
    return row


def _encoder_alone(encoder: keras.Model, tiles: tf.Tensor) -> dict[str, Callable[[int], float]]:
    """Forward passes, and those with gradients."""

    @tf.function  # type: ignore[untyped-decorator]
    def forward(count: tf.Tensor) -> tf.Tensor:
        total = tf.constant(0.0)
        for _ in tf.range(count):
            total += tf.reduce_sum(encoder(tiles + total * 1e-30, training=True))
        return total

    @tf.function  # type: ignore[untyped-decorator]
    def gradients(count: tf.Tensor) -> tf.Tensor:
        total = tf.constant(0.0)
        for _ in tf.range(count):
            with tf.GradientTape() as tape:
                value = tf.reduce_sum(tf.square(encoder(tiles + total * 1e-30, training=True)))
            of_weights = tape.gradient(value, encoder.trainable_variables)
            total += tf.add_n([tf.reduce_sum(tf.cast(each, tf.float32)) for each in of_weights])
        return total

    def repeated(function: Callable[[tf.Tensor], tf.Tensor]) -> Callable[[int], float]:
        return lambda count: 0.0 * float(function(tf.constant(count)))

    return {"forward_s": repeated(forward), "gradients_s": repeated(gradients)}


def profile(bench: Bench, encoder: str, mode: str) -> dict[str, Any]:
    """Profile steps as `profile_steps` does, and read what the profiler wrote."""
    steps = bench.steps(bench.config(encoder, mode))
    source, directory = steps.input(), Path(bench.home) / f"profile-{encoder}-{mode}-{time.time()}"
    first, last = _PROFILED
    steps.make(source, first - 1)
    with Profiler(str(directory), _PROFILED) as profiler:
        profiler.update(first - 1)
        steps.make(source, last - first + 1, first=first - 1)
        profiler.update(last)
    return summarise(directory, last - first + 1)


def replicas(bench: Bench, count: str) -> dict[str, Any]:
    """Three SGD steps on one or two logical devices; two are compared with one."""
    tf.config.experimental.enable_tensor_float_32_execution(False)  # noqa: FBT003
    n_replicas, path = int(count), Path(bench.home) / "one.npz"
    strategy = _logical_gpus(n_replicas) or make_strategy(n_replicas, bench.batch_size)
    keras.utils.set_random_seed(0)  # of the projector
    before: list[np.ndarray] = []

    def with_sgd(learner: Learner) -> Learner:
        optimizer = keras.optimizers.SGD(0.1)
        prepare_optimizer(optimizer, learner.trainable_variables)
        before.extend(value.numpy() for value in learner.trainable_variables)
        return dataclasses.replace(learner, optimizer=optimizer)

    smooth = {"mining": "all", "reducer": "mean"}  # rounding changes which opposite is semi-hard
    config = dataclasses.replace(bench.config("conv2d", "float32"), **smooth)
    steps = bench.steps(config, strategy=strategy, change=with_sgd)
    steps.make(steps.input(), _SGD_STEPS)
    after = [value.numpy() for value in steps.learner.trainable_variables]
    moved = max(float(np.abs(a - b).max()) for a, b in zip(after, before, strict=True))
    row: dict[str, Any] = {"replicas": strategy.num_replicas_in_sync, "moved": moved}
    if n_replicas == 1:
        np.savez(path, *after)
        return row
    ones = np.load(path).values()
    apart = max(float(np.abs(a - b).max()) for a, b in zip(after, ones, strict=True))
    return row | {"difference": apart, "equal": apart <= _TOLERANCE * moved}


def _logical_gpus(count: int) -> tf.distribute.Strategy | None:
    """As many logical devices of the first GPU; None without a GPU, or for one."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus or count == 1:
        return None
    tf.config.set_visible_devices(gpus[:1], "GPU")
    parts = [tf.config.LogicalDeviceConfiguration(memory_limit=6144)] * count
    tf.config.set_logical_device_configuration(gpus[0], parts)
    return tf.distribute.MirroredStrategy([f"GPU:{number}" for number in range(count)])


def saved_model(bench: Bench, encoder: str, where: str) -> dict[str, Any]:
    """Export an untrained encoder and embed on the device; on the CPU, compare with that."""
    home, spec = Path(bench.home) / f"saved-{encoder}", bench.opened.info.feature_spec
    exported, embedded = str(home / "saved_model"), home / "embedded.npz"
    if where == "device":
        steps = bench.steps(bench.config(encoder, "float32"))
        save_waveform_encoder(WaveformEncoder(steps.learner.encoder, spec), spec, exported)
    embed = tf.saved_model.load(exported)
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.1, spec.sample_rate_hz * _WAVEFORM_S).astype(np.float32)
    vectors = {}
    for name, allowed in (("tf32", True), ("float32", False)):
        tf.config.experimental.enable_tensor_float_32_execution(allowed)
        vectors[name] = embed(tf.constant(noise))["embeddings"].numpy()
    if where == "device":
        np.savez(embedded, **vectors)
        return {"tiles": len(vectors["float32"])}
    ours, row = vectors["float32"], {"largest": float(np.abs(vectors["float32"]).max())}
    for name, theirs in np.load(embedded).items():
        row[f"{name}_difference"] = float(np.abs(ours - theirs).max())
        row[f"{name}_least_cosine"] = float(_cosines(ours, theirs).min())
    return row


def _cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    cosines: np.ndarray = np.sum(left * right, axis=1) / lengths
    return cosines


CASES: dict[str, Callable[..., dict[str, Any]]] = {
    "device": device,
    "step": step,
    "placements": placements,
    "parts": parts,
    "profile": profile,
    "replicas": replicas,
    "saved_model": saved_model,
}


def main(arguments: Sequence[str]) -> None:
    """Run cases; one that fails does not keep the next from running."""
    bench = Bench(**json.loads(arguments[0]))
    for name, *words in json.loads(arguments[1]):
        begin = time.monotonic()
        try:
            row = CASES[name](bench, *words)
        except Exception as error:  # whatever it is, the next case may work
            row = {"error": " ".join(f"{type(error).__name__}: {error}".split())[:500]}
        took_s = round(time.monotonic() - begin, 1)
        print(json.dumps({"case": " ".join([name, *words]), **row, "took_s": took_s}), flush=True)
        keras.backend.clear_session()


if __name__ == "__main__":
    main(sys.argv[1:])
