"""Which pairs make a step: the same, however steps, rows and replicas divide them."""

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from dem.errors import InputError
from tests.trainer.corpora import corpus_of, index_strips, make_strip
from tests.trainer.synthetic import SPEC, node_strip, write_features, write_strips
from trainer.data.features import Features, open_features
from trainer.pairs.draw import PairDraw, Rules
from trainer.pairs.source import PairSource, pair_rules
from trainer.train.corpus import Corpus
from trainer.train.input import cut_tiles, host_cut

Batch = dict[str, npt.NDArray[np.int64]]
WHOLE = (1, 0, 1)


@pytest.fixture(scope="module")
def corpus(features: Features) -> Corpus:
    """24 songs of 6 tiles are 144 anchors, 9 batches of 16."""
    return corpus_of(features, batch_size=16, neighbourhood_s=0.5)


def drawn(
    source: PairSource, end: int, begin: int = 0, parts: tuple[int, int, int] = WHOLE
) -> list[Batch]:
    return list(source.batches((begin, end), parts, cut=None).as_numpy_iterator())


def batch_of(source: PairSource, step: int) -> Batch:
    """A whole batch, without a pipeline."""
    numbers = step * source.batch_size + tf.range(source.batch_size, dtype=tf.int64)
    return {name: values.numpy() for name, values in source.pairs(numbers).items()}


def joined(batches: list[Batch]) -> Batch:
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def require_equal(one: Batch, other: Batch) -> None:
    assert one.keys() == other.keys()
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name])


def numbered(n_sessions: int, n_tiles: int, batch_size: int, seed: int = 0) -> PairSource:
    """Songs whose tiles are recordings, so that every cut is a tile."""
    names = [[f"{song}/{tile}" for tile in range(n_tiles)] for song in range(n_sessions)]
    strips = [make_strip(str(song), 0, names[song]) for song in range(n_sessions)]
    return PairSource(PairDraw(index_strips(strips), Rules(8)), batch_size, seed)


def test_batches_have_the_promised_shapes(corpus: Corpus) -> None:
    batches = corpus.pairs.batches((0, 2), WHOLE, host_cut(corpus.store))
    shapes = {name: spec.shape.as_list() for name, spec in batches.element_spec.items()}
    assert shapes == {
        "starts": [16, 2],
        "sessions": [16],
        "labels": [16, 2],
        "tiles": [16, 2, *SPEC.tile_shape],
    }
    for batch in batches:
        assert {name: batch[name].shape.as_list() for name in batch} == shapes
        assert batch.pop("tiles").dtype == tf.float16
        assert {values.dtype for values in batch.values()} == {tf.int64}


def test_seed_and_step_decide_the_batches(corpus: Corpus) -> None:
    source = corpus.pairs
    first, second = drawn(source, 2)
    require_equal(first, batch_of(dataclasses.replace(source), 0))
    other = batch_of(dataclasses.replace(source, seed=1), 0)
    for different in (second, other):
        assert not np.array_equal(first["starts"], different["starts"])


@pytest.mark.parametrize("seed", [2**31, 2**32 - 1])
def test_every_seed_of_the_settings_is_possible(seed: int) -> None:
    source = numbered(3, 4, batch_size=6, seed=seed)
    starts = joined([batch_of(source, step) for step in range(2)])["starts"][:, 0]
    assert sorted(starts // 4) == list(range(12))


@pytest.mark.parametrize(("batch_size", "steps"), [(16, 9), (12, 12), (144, 1)])
def test_a_pass_makes_every_tile_an_anchor_once(batch_size: int, steps: int) -> None:
    source = numbered(24, 6, batch_size)
    first, second = (
        joined([batch_of(source, step) for step in range(begin, begin + steps)])["starts"][:, 0]
        // 4
        for begin in (0, steps)
    )
    assert sorted(first) == sorted(second) == list(range(144))
    assert (first == second).mean() < 0.1


@pytest.mark.parametrize("batch_size", [5, 100, 31])
def test_passes_follow_each_other_without_a_gap(batch_size: int) -> None:
    """Where a batch holds the end of one and the begin of another, or many of them."""
    source = numbered(3, 4, batch_size)
    batches = [batch_of(source, step) for step in range(12)]
    anchors = joined(batches)["starts"][:, 0] // 4
    for begin in range(0, len(anchors) - 11, 12):
        assert sorted(anchors[begin : begin + 12]) == list(range(12))


def test_silent_tiles_are_no_anchors() -> None:
    quiet = np.repeat([False, True, True, False], 4)
    index = index_strips([make_strip(name, 0, list("abcd"), quiet=quiet) for name in "xy"])
    source = PairSource(PairDraw(index, Rules(100)), batch_size=4, seed=0)
    for batch in (batch_of(source, step) for step in range(5)):
        assert sorted(batch["starts"][:, 0]) == [0, 12, 16, 28]
        assert sorted(batch["starts"][:, 1]) == [0, 12, 16, 28]


def test_a_pair_depends_on_its_number_alone(corpus: Corpus) -> None:
    numbers = tf.range(11 * 16, 12 * 16, dtype=tf.int64)
    whole = corpus.pairs.pairs(numbers)
    for sizes in ([8, 8], [4] * 4, [1, 5, 10], [15, 1], [1] * 16):
        parts = [corpus.pairs.pairs(part) for part in tf.split(numbers, sizes)]
        require_equal(joined(parts), joined([whole]))
    backwards = corpus.pairs.pairs(numbers[::-1])
    require_equal(
        {name: values[::-1].numpy() for name, values in backwards.items()}, joined([whole])
    )


def test_another_batch_size_divides_the_same_pairs(corpus: Corpus) -> None:
    small = dataclasses.replace(corpus.pairs, batch_size=4)
    require_equal(joined(drawn(small, 12)), joined(drawn(corpus.pairs, 3)))


def test_a_resumed_run_gets_the_later_batches(corpus: Corpus) -> None:
    whole = drawn(corpus.pairs, 12)
    rest = drawn(corpus.pairs, 12, 7)
    assert len(rest) == 5
    for one, other in zip(rest, whole[7:], strict=True):
        require_equal(one, other)
    far = 10**9  # steps into a run
    (batch,) = drawn(corpus.pairs, far + 1, far)
    require_equal(batch, batch_of(corpus.pairs, far))


@pytest.mark.parametrize(("hosts", "replicas"), [(1, 2), (1, 4), (2, 2)])
def test_parts_of_replicas_and_hosts_are_the_batch(
    corpus: Corpus, hosts: int, replicas: int
) -> None:
    """A host gets the parts of its replicas, step by step."""
    n_parts = hosts * replicas
    of_hosts = [
        drawn(corpus.pairs, 6, 2, (n_parts, host * replicas, replicas)) for host in range(hosts)
    ]
    for step in range(4):
        own = slice(step * replicas, (step + 1) * replicas)
        parts = [part for host in of_hosts for part in host[own]]
        assert [len(part["sessions"]) for part in parts] == [16 // n_parts] * n_parts
        require_equal(joined(parts), batch_of(corpus.pairs, 2 + step))


def test_pairs_are_of_one_session_and_near(corpus: Corpus) -> None:
    """0.5 s are 31 frames of 16 ms."""
    store = corpus.store
    pairs = joined([batch_of(corpus.pairs, step) for step in range(18)])
    songs = pairs["starts"] // (6 * SPEC.tile_frames)
    np.testing.assert_array_equal(songs[:, 0], songs[:, 1])
    apart = np.abs(pairs["starts"][:, 0] - pairs["starts"][:, 1])
    assert apart.min() >= SPEC.tile_frames
    assert apart.max() == int(0.5 / SPEC.hop_s)
    names = store.index.sessions.as_list()
    assert [names[song] for song in songs[:, 0]] == [
        store.index.sessions.names[code] for code in pairs["sessions"]
    ]


@pytest.mark.parametrize(("n_sessions", "n_tiles"), [(8, 512), (96, 128), (1000, 32), (10_000, 8)])
def test_batches_mix_as_many_sessions_as_uniform_draws(n_sessions: int, n_tiles: int) -> None:
    """Of 1024 pairs, or 16 of 8 sessions; on average over a few steps, and within 2 %."""
    batch_size, steps = (16, 300) if n_sessions == 8 else (1024, 6)
    source = numbered(n_sessions, n_tiles, batch_size)
    distinct = [len(np.unique(batch["sessions"])) for batch in drawn(source, steps)]
    expected = n_sessions * (1 - (1 - 1 / n_sessions) ** batch_size)
    assert np.mean(distinct) == pytest.approx(expected, rel=0.02)


def test_tiles_cut_on_the_host_are_those_cut_in_the_step(corpus: Corpus) -> None:
    frames = corpus.store.frames
    cut = host_cut(corpus.store)
    in_step = tf.function(lambda starts: cut_tiles(tf.constant(frames), starts, SPEC.tile_frames))
    for batch in corpus.pairs.batches((0, 3), WHOLE, cut):
        plain = [
            [frames[start : start + SPEC.tile_frames] for start in pair]
            for pair in batch["starts"].numpy()
        ]
        np.testing.assert_array_equal(batch["tiles"], plain)
        np.testing.assert_array_equal(in_step(batch["starts"]), plain)


# Rules and what they need


def test_settings_become_rules() -> None:
    """0.29 s are 29 hops of 0.01 s, though 0.29 / 0.01 is less in floats."""
    spec = dataclasses.replace(SPEC, hop_s=0.01, tile_s=0.16)
    assert pair_rules(spec, 0.29, ["time"]) == Rules(29, in_time=True, at_sensors=False)
    assert pair_rules(spec, 0.295, ["sensor"]) == Rules(29, in_time=False, at_sensors=True)
    assert pair_rules(spec, 5.0, ["sensor", "time"]) == Rules(500, in_time=True, at_sensors=True)


NODES = [
    node_strip("ex1", "node1", 0, 6),
    node_strip("ex1", "node2", 0, 2),
    node_strip("ex1", "node2", 4, 2),
    node_strip("ex1", "node1", 64, 3),
    node_strip("ex2", "node1", 0, 5),
    node_strip("ex2", "node3", 0, 5),
    node_strip("ex3", "node1", 0, 4),
]


def test_positives_at_sensors_are_the_same_frames_at_another_node(tmp_path: Path) -> None:
    """Values tell the frame, labels the node: node1 is 1, node2 is 2, node3 is 0."""
    nodes = open_features(str(write_strips(tmp_path / "nodes", [NODES[:4], NODES[4:]])))
    corpus = corpus_of(nodes, batch_size=8, positives=["sensor"])
    assert corpus.pairs.draw.n_anchors == 18
    pairs = joined([batch_of(corpus.pairs, step) for step in range(20)])
    anchors, neighbours = corpus.store.frames[pairs["starts"]].transpose(1, 0, 2)
    np.testing.assert_array_equal(anchors, neighbours)
    met = set(map(tuple, pairs["labels"].tolist()))
    assert met == {(1, 2), (2, 1), (1, 0), (0, 1)}


def test_partitions_without_two_sessions_that_are_heard_are_refused(
    tmp_path: Path, features: Features
) -> None:
    lone = open_features(str(write_features(tmp_path / "lone", {"train": 1})))
    with pytest.raises(InputError, match=r"1 sessions of train in .* are audible, but a triplet"):
        corpus_of(lone)
    loud_spec = dataclasses.replace(SPEC, log_offset=1e6)
    quiet = dataclasses.replace(
        features, info=dataclasses.replace(features.info, feature_spec=loud_spec)
    )
    for positives in (["time"], ["sensor"]):
        with pytest.raises(InputError, match=r"0 sessions of train"):
            corpus_of(quiet, positives=positives)


def test_data_of_one_sensor_at_a_time_are_refused_for_positives_at_sensors(
    tmp_path: Path, features: Features
) -> None:
    nodes = open_features(str(write_strips(tmp_path / "nodes", [NODES])))
    corpus_of(nodes, positives=["time", "sensor"])
    for positives in (["sensor"], ["time", "sensor"]):
        with pytest.raises(InputError, match=r"no session of train in .* was recorded by two sens"):
            corpus_of(features, positives=positives)
