"""Libraries for tests: vectors of made-up songs, as ``dem embed`` writes them."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beam_features.schema.sources import Source, write_sources

MODEL = "ab" * 32
SIZE = 8


@dataclass(frozen=True)
class MadeUp:
    """A song: a direction in space with noise, `tiles` times."""

    recording: str
    direction: tuple[float, ...]
    tiles: int = 4
    silent: int = 0  # tiles at its end
    version: str = "1"
    seconds: float = 60.0
    columns: dict[str, str] = field(default_factory=dict)
    noise: float = 0.0
    samples_sha256: str | None = None


def direction(angle: float) -> tuple[float, ...]:
    """A vector of length one in the plane of the first two axes; the others are zero."""
    return (float(np.cos(angle)), float(np.sin(angle)), *([0.0] * (SIZE - 2)))


def write_vectors(
    folder: Path,
    songs: Iterable[MadeUp],
    model: str = MODEL,
    rows_per_group: int = 4096,
    root: str = "/music",
) -> Path:
    """Write a complete output of the embedding."""
    folder.mkdir(parents=True, exist_ok=True)
    songs = list(songs)
    rows = [row for song in songs for row in _rows(song)]
    names = list(dict.fromkeys(name for song in songs for name in song.columns))
    vectors = np.array([row.pop("vector") for row in rows], np.float32).reshape(-1, SIZE)
    columns = {
        "recording": pa.string(),
        "context": pa.string(),
        "session": pa.string(),
        "start_s": pa.float64(),
        "partition": pa.string(),
        "label": pa.string(),
        "audible": pa.bool_(),
        **dict.fromkeys(names, pa.string()),
    }
    table = {
        name: pa.array([row.get(name) for row in rows], kind) for name, kind in columns.items()
    }
    table["vector"] = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), SIZE)
    pq.write_table(pa.table(table), folder / "recordings.parquet", row_group_size=rows_per_group)
    write_sources(
        str(folder / "_sources.parquet"),
        [
            Source(
                song.recording,
                f"{root}/{song.recording}",
                100,
                1.0,
                song.version,
                song.seconds,
                1.0,
                song.samples_sha256,
            )
            for song in songs
        ],
    )
    info = {
        "arguments": {"model_sha256": model, "fingerprint": "f" * 64, "embedding_size": SIZE},
        "files": {"recordings.parquet": len(rows)},
        "failed": {},
    }
    (folder / "_embeddings_info.json").write_text(json.dumps(info))
    return folder


def _rows(song: MadeUp) -> list[dict[str, object]]:
    random = np.random.default_rng(list(song.recording.encode()))
    label = song.columns.get("label")
    return [
        {
            "recording": song.recording,
            "context": song.recording,
            "session": song.recording,
            "start_s": float(tile),
            "partition": None,
            "label": label,
            "audible": tile < song.tiles - song.silent,
            "vector": np.array(song.direction) + song.noise * random.normal(size=SIZE),
            **{name: cell for name, cell in song.columns.items() if name != "label"},
        }
        for tile in range(song.tiles)
    ]
