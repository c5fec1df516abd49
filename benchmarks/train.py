"""How fast training is, and what it costs: ``python -m benchmarks.train [--only PART …] …``.

One run, one machine, ratios. The rival is the input of version 0.3
(`benchmarks.shuffled_generators`).

* input: tiles per second and per processor second of both, on clips of 5 s and on songs;
* mixing: distinct sessions in a batch of 1024 of both, against what a uniform draw gives;
* steps: the step with input against the same step on one batch that is already cut;
* variants: two logical replicas, bfloat16, XLA and embedded opposites against none of them;
* resume: seconds from an open store to the first step after any number of steps;
* store: seconds and memory to fill it, into memory and into ``--cache-dir``; bytes per tile;
* start: seconds from the command to the first step; `--against` is a checkout of another version.

What is compared takes turns, and what counts is the median over the rounds. `--features` are
directories of features; without it, clips and songs are synthesised.
"""

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from math import exp, lgamma
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from benchmarks import shuffled_generators
from benchmarks.corpora import SMALL, write_corpus
from benchmarks.shuffled_generators import distribute
from benchmarks.stepping import ENDLESS, Steps, read_corpus
from trainer.config import TrainConfig
from trainer.data.features import Features, open_features
from trainer.data.shards import CorruptRecords
from trainer.pairs.draw import PairDraw, Rules
from trainer.pairs.source import PairSource
from trainer.runtime.memory import peak_memory_mib
from trainer.store.frames import FrameStore, open_store
from trainer.store.index import dump_index
from trainer.train.devices import make_strategy
from trainer.train.input import Input, cut_tiles, open_input

_OLD = "generators"
_BATCH = 128
_LARGE_BATCH = 1024
_TILES_PER_TURN = {"old": 131_072, "new": 524_288}  # far more than what is buffered
_SESSIONS = {8: 240, 96: 240, 1000: 240, 10_000: 60}  # tiles of each
_BATCHES_TO_MIX = 20
_STEPS_BEFORE = (0, 10, 1000, 10_000)
_STEPS_TO_SKIP = (0, 10, 100)  # by reading
_START_TIMEOUT_S = 600

Pull = Callable[[Iterator[Any], tf.Tensor], tf.Tensor]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--features", nargs="+", type=Path, metavar="DIR")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", default=Path())
    parser.add_argument("--encoders", nargs="+", default=["conv2d", "dense"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="of a turn")
    known = parser.parse_args(arguments)
    make_strategy(2, _BATCH)  # before TensorFlow starts: afterwards a CPU stays whole
    print(f"TensorFlow {tf.__version__}, {len(os.sched_getaffinity(0))} cores", flush=True)
    with tempfile.TemporaryDirectory() as home:
        if known.features:
            known.corpora = {path.name: open_features(str(path)) for path in known.features}
        else:
            known.corpora = synthesise(Path(home))
        for part in known.only:
            print(f"\n## {part}", flush=True)
            PARTS[part](known)


def synthesise(home: Path) -> dict[str, Features]:
    """Clips as in ESC-10, and songs of four minutes."""
    return {
        "clips": open_features(write_corpus(home / "clips", 400, 5)),
        "songs": open_features(write_corpus(home / "songs", 96, 240)),
    }


def compare_inputs(known: argparse.Namespace) -> None:
    """Print the tiles per second and per processor second of both inputs."""
    print("| corpus | batch | input | tiles/s | tiles per CPU-s | CPU-s per 1e6 | ratio |")
    print("|---|---|---|---|---|---|---|")
    for name, features in known.corpora.items():
        for batch_size in (_BATCH, _LARGE_BATCH):
            pulls = inputs_of(features, TrainConfig(batch_size=batch_size))
            turns: dict[str, list[tuple[float, float]]] = {kind: [] for kind in pulls}
            for _ in range(known.rounds):
                for kind, (pull, batches) in pulls.items():
                    tiles = _TILES_PER_TURN["old" if kind == _OLD else "new"]
                    turns[kind].append(rates(pull, batches, tiles, batch_size))
            for kind, pairs in turns.items():
                per_s, per_cpu_s = map(statistics.median, zip(*pairs, strict=True))
                ratio = statistics.median(
                    ours[1] / theirs[1] for ours, theirs in zip(pairs, turns[_OLD], strict=True)
                )
                print(
                    f"| {name} | {batch_size} | {kind} | {per_s:,.0f} | {per_cpu_s:,.0f} | "
                    f"{1e6 / per_cpu_s:.2f} | {ratio:.1f} |",
                    flush=True,
                )


def inputs_of(features: Features, config: TrainConfig) -> dict[str, tuple[Pull, Iterator[Any]]]:
    """Both inputs as a run takes them; the store's tiles are cut ahead, or in the loop."""
    corpus, size = read_corpus(features, config), config.batch_size or 0
    strategy, tile_frames = tf.distribute.OneDeviceStrategy("CPU:0"), corpus.store.index.tile_frames
    names = [name for name, of in features.info.partitions.items() if of.tiles]
    old = shuffled_generators.batches(features, names, config.neighbourhood_s, size, epoch=0)
    in_memory = open_input(strategy, corpus.store, corpus.pairs, (0, ENDLESS))
    on_disk = open_input(strategy, replace(corpus.store, place="disk"), corpus.pairs, (0, ENDLESS))

    def cut(batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        return cut_tiles(in_memory.frames, batch["starts"], tile_frames)

    return {
        _OLD: (puller(lambda batch: batch["neighbours"]), distribute(strategy, old, size)),
        "store, cut in the loop": (puller(cut), in_memory.batches),
        "store, cut ahead": (puller(lambda batch: batch["tiles"]), on_disk.batches),
    }


def puller(tiles_of: Callable[[Mapping[str, tf.Tensor]], tf.Tensor]) -> Pull:
    """A loop in a graph that takes batches, and a number of each batch's last tile."""

    @tf.function  # type: ignore[untyped-decorator]
    def pull(batches: Iterator[Any], count: tf.Tensor) -> tf.Tensor:
        total = tf.constant(0.0)
        for _ in tf.range(count):
            total += tf.cast(tf.reshape(tiles_of(next(batches)), [-1])[-1], tf.float32)
        return total

    return pull  # type: ignore[no-any-return]


def rates(pull: Pull, batches: Iterator[Any], tiles: int, batch_size: int) -> tuple[float, float]:
    """Tiles per second and per processor second, after buffers have settled."""
    count = tf.constant(tiles // (2 * batch_size))
    float(pull(batches, tf.constant(4)))
    time.sleep(0.3)  # what was prepared for the other input is complete
    begin, processor_s = time.perf_counter(), time.process_time()
    float(pull(batches, count))
    taken = 2 * batch_size * int(count)
    return (
        taken / (time.perf_counter() - begin),
        taken / (time.process_time() - processor_s),
    )


def compare_mixing(known: argparse.Namespace) -> None:
    """Print how many sessions a batch has, and how many a uniform draw of tiles gives."""
    del known
    print(f"batch {_LARGE_BATCH}, mean of {_BATCHES_TO_MIX} batches\n")
    print("| sessions | tiles each | uniform | store | generators |\n|---|---|---|---|---|")
    for sessions, tiles in _SESSIONS.items():
        with tempfile.TemporaryDirectory() as home:
            features = open_features(write_corpus(Path(home) / "mixed", sessions, tiles, SMALL))
            uniform = distinct_expected(sessions, tiles, _LARGE_BATCH)
            ours = mean_distinct(drawn_batches(features))
            old = shuffled_generators.batches(features, ["train"], 5.0, _LARGE_BATCH, epoch=0)
            theirs = mean_distinct(old.take(_BATCHES_TO_MIX))
        print(
            f"| {sessions} | {tiles} | {uniform:.1f} | {ours:.1f} ({ours / uniform:.3f}) | "
            f"{theirs:.1f} ({theirs / uniform:.3f}) |",
            flush=True,
        )


def distinct_expected(sessions: int, tiles: int, drawn: int) -> float:
    """Expected sessions among tiles drawn uniformly, without putting back."""

    def log_choose(n: int, k: int) -> float:
        return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)

    total = sessions * tiles
    if total - tiles < drawn:
        return float(sessions)
    return sessions * (1 - exp(log_choose(total - tiles, drawn) - log_choose(total, drawn)))


def drawn_batches(features: Features) -> tf.data.Dataset:
    """Batches of the store."""
    store = open_store(features, ["train"], CorruptRecords(0))
    reach = round(5.0 / features.info.feature_spec.hop_s)
    source = PairSource(PairDraw(store.index, Rules(reach)), _LARGE_BATCH, seed=0)
    return source.batches((0, _BATCHES_TO_MIX), (1, 0, 1), None)


def mean_distinct(batches: tf.data.Dataset) -> float:
    """Mean number of distinct sessions."""
    return statistics.mean(len(np.unique(batch["sessions"])) for batch in batches)


def compare_steps(known: argparse.Namespace) -> None:
    """Print the seconds of a step with input, as multiples of one on a resident batch."""
    features = list(known.corpora.values())[-1]
    print(heading(known))
    for encoder in known.encoders:
        config = TrainConfig(encoder=encoder, batch_size=_BATCH)
        steps = Steps(features, config, read_corpus(features, config))
        sources = {
            "frames in memory": steps.input(),
            "cut by the host": steps.cut_on_host(),
        }
        n_steps = known.steps * (1 if encoder == "conv2d" else 10)
        for name, source in sources.items():
            base = (steps, steps.resident())
            print_turns(f"{encoder}, {name}", base, (steps, source), known.rounds, n_steps)


def compare_variants(known: argparse.Namespace) -> None:
    """Print the seconds of a step with other settings, as multiples of one without."""
    features = list(known.corpora.values())[-1]
    config = TrainConfig(batch_size=_BATCH)
    corpus = read_corpus(features, config)
    base = Steps(features, config, corpus)
    resident = base.resident()
    variants = {
        "2 logical replicas": replace(config, replicas=2),
        "mixed_bfloat16": replace(config, precision="mixed_bfloat16"),
        "jit_compile": replace(config, jit_compile=True),
        # so many pairs have the tiles of a batch of triplets
        "opposites embedded, too": replace(config, batch_size=3 * _BATCH // 2),
    }
    print(heading(known))
    for name, changed in variants.items():
        steps = Steps(features, changed, corpus)
        source = steps.input() if changed.replicas else steps.resident()
        print_turns(name, (base, resident), (steps, source), known.rounds, known.steps)


def heading(known: argparse.Namespace) -> str:
    """Columns of `print_turns`."""
    return (
        f"batch {_BATCH}, median of {known.rounds} turns\n\n"
        "| step | s | CPU-s | base: s | CPU-s | ratio of s | of CPU-s | wait share |\n"
        "|---|---|---|---|---|---|---|---|"
    )


def print_turns(
    name: str,
    base: tuple[Steps, Input],
    changed: tuple[Steps, Input],
    rounds: int,
    n_steps: int,
) -> None:
    """Let two take turns, and print what a step took, and the medians of the ratios."""
    turns = [
        (base[0].turn(base[1], n_steps), changed[0].turn(changed[1], n_steps))
        for _ in range(rounds)
    ]
    middle = statistics.median
    cells = [
        f"{middle(ours.seconds for _, ours in turns):.4f}",
        f"{middle(ours.processor_s for _, ours in turns):.4f}",
        f"{middle(its.seconds for its, _ in turns):.4f}",
        f"{middle(its.processor_s for its, _ in turns):.4f}",
        f"{middle(ours.seconds / its.seconds for its, ours in turns):.3f}",
        f"{middle(ours.processor_s / its.processor_s for its, ours in turns):.3f}",
        f"{middle(ours.wait_share for _, ours in turns):.3f}",
    ]
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def compare_resumes(known: argparse.Namespace) -> None:
    """Print the seconds from an open store to the first step; old: to the first batch."""
    features = list(known.corpora.values())[-1]
    config = TrainConfig(encoder="dense", batch_size=_BATCH)
    steps = Steps(features, config, read_corpus(features, config))
    steps.make(steps.input(), 1)  # traces, as any start does
    print(f"batch {_BATCH}, median of {known.rounds} turns\n")
    print("| input | steps before | s |\n|---|---|---|")
    seconds: dict[tuple[str, int], list[float]] = {}
    for _ in range(known.rounds):
        for before in _STEPS_BEFORE:
            begin = time.perf_counter()
            steps.make(steps.input(before), 1, first=before)
            seconds.setdefault(("store", before), []).append(time.perf_counter() - begin)
    for before in _STEPS_TO_SKIP:
        begin = time.perf_counter()
        old = shuffled_generators.batches(features, list(features.info.partitions), 5.0, _BATCH, 0)
        next(iter(old.skip(before)))
        seconds[_OLD, before] = [time.perf_counter() - begin]
    for (name, before), took in seconds.items():
        print(f"| {name} | {before} | {statistics.median(took):.2f} |", flush=True)


def measure_store(known: argparse.Namespace) -> None:
    """Print what it takes to fill a store, with the shards in the page cache."""
    columns = (
        "corpus | into | MiB | s | MiB/s | CPU-s per 1e6 tiles | peak MiB | index bytes per tile"
    )
    print(f"| {columns} |\n|{'---|' * 8}")
    context = multiprocessing.get_context("spawn")
    for name, features in known.corpora.items():
        for path in Path(features.uri).glob("*.tfrecord"):
            path.read_bytes()
        with tempfile.TemporaryDirectory() as home:
            for place, cache_dir in (("memory", None), ("disk", home), ("disk, again", home)):
                with ProcessPoolExecutor(1, mp_context=context) as fresh:
                    row = fresh.submit(fill_row, features, cache_dir).result()
                print(f"| {name} | {place} | {row} |", flush=True)
    print("\nframes per hour of audio: " + ", ".join(map(per_hour, known.corpora.values())))


def per_hour(features: Features) -> str:
    """Size of the frames of an hour."""
    spec = features.info.feature_spec
    return f"{3600 / spec.tile_s * spec.tile_frames * spec.n_mels * 2 / 1e6:.2f} MB"


def fill_row(features: Features, cache_dir: str | None) -> str:
    """Fill a store, in a process that has only started TensorFlow; the peak is above that."""
    names = [name for name, of in features.info.partitions.items() if of.tiles]
    next(iter(tf.data.Dataset.range(2).map(lambda number: number + 1)))
    before = peak_memory_mib()
    begin, processor_s = time.perf_counter(), time.process_time()
    store = open_store(features, names, CorruptRecords(0), cache_dir)
    seconds, processor_s = time.perf_counter() - begin, time.process_time() - processor_s
    size, tiles = store.frames.nbytes / 2**20, len(store.index.labels)
    return (
        f"{size:.0f} | {seconds:.2f} | {size / seconds:.0f} | {processor_s / tiles * 1e6:.1f} | "
        f"{peak_memory_mib() - before:.0f} | {index_bytes(store) / tiles:.1f}"
    )


def index_bytes(store: FrameStore) -> int:
    """Bytes of the index's arrays and names."""
    return sum(values.nbytes for values in dump_index(store.index).values())


def compare_starts(known: argparse.Namespace) -> None:
    """Print the seconds from the command to the end of the first step."""
    checkouts = {"this": Path(), "against": known.against}
    if known.against == Path():
        print("give --against the checkout of another version")
        return
    print("| features | version | s | CPU-s |\n|---|---|---|---|")
    for name, features in known.corpora.items():
        turns = [
            {which: start_once(path, features) for which, path in checkouts.items()}
            for _ in range(known.rounds)
        ]
        for which in checkouts:
            columns = zip(*(turn[which] for turn in turns), strict=True)
            cells = " | ".join(f"{statistics.median(column):.2f}" for column in columns)
            print(f"| {name} | {which} | {cells} |", flush=True)


def start_once(checkout: Path, features: Features) -> tuple[float, float]:
    """Seconds and processor seconds until a run of one step reports its epoch."""
    names = [name for name, of in features.info.partitions.items() if of.tiles]
    settings = ["epochs=1", "steps_per_epoch=1", "validation_partitions=[]", "test_partitions=[]"]
    settings += [f"train_partitions=[{','.join(names)}]", f"batch_size={_BATCH}"]
    with tempfile.TemporaryDirectory() as job_dir:
        words = ["--data", str(Path(features.uri).resolve()), "--job-dir", job_dir]
        command = [sys.executable, "-m", "trainer.train", *words, "--set", *settings]
        begin = time.perf_counter()
        process = subprocess.Popen(  # noqa: S603 - our own command
            command, cwd=checkout, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        log = []
        for line in process.stderr:
            log.append(line)
            if "epoch 1/1" in line:
                break
        else:
            raise SystemExit(f"no step was made:\n{''.join(log)}")
        seconds = time.perf_counter() - begin
        process.kill()
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = -9
    return seconds, usage.ru_utime + usage.ru_stime


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "input": compare_inputs,
    "mixing": compare_mixing,
    "steps": compare_steps,
    "variants": compare_variants,
    "resume": compare_resumes,
    "store": measure_store,
    "start": compare_starts,
}


if __name__ == "__main__":
    main()
