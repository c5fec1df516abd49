"""What a profile says: how long the device was idle, and which operations took its time.

TensorFlow's profiler writes ``plugins/profile/<time>/<host>.xplane.pb``: planes (a device, or the
threads of the host) of lines (a stream, or a thread) of events.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tensorflow.tsl.profiler.protobuf import xplane_pb2

_TOP = 12
_NAME = 80  # characters of a name; those of kernels are longer


def summarise(directory: Path, n_steps: int) -> dict[str, Any]:
    """Read the newest profile below a log directory of some steps."""
    paths = sorted(directory.rglob("*.xplane.pb"))
    space = xplane_pb2.XSpace.FromString(paths[-1].read_bytes())
    return summary_of(space, n_steps)


def summary_of(space: Any, n_steps: int) -> dict[str, Any]:
    """Summarise a profile: of the first GPU, or of the host's threads if there is none."""
    (host,) = (plane for plane in space.planes if plane.name == "/host:CPU")
    devices = [plane for plane in space.planes if plane.name.startswith("/device:GPU")]
    plane = devices[0] if devices else host
    events = list(events_of(plane))
    begin, end = (
        pick(edge) for pick, edge in ((min, (e[1] for e in events)), (max, (e[2] for e in events)))
    )
    busy = covered((first, last) for _, first, last, _ in events)
    names, types = Counter[str](), Counter[str]()
    for name, first, last, kind in events:
        names[name[:_NAME]] += last - first
        types[kind] += last - first
    threads = Counter[str]()
    for name, first, last, _ in events_of(host):
        threads[name[:_NAME]] += last - first
    return {
        "plane": plane.name,
        "ms_per_step": (end - begin) / 1e9 / n_steps,
        "idle_share": 1 - busy / max(end - begin, 1),
        "events_per_step": len(events) / n_steps,
        "mean_event_us": sum(names.values()) / 1e6 / max(len(events), 1),
        "copy_share": sum(t for name, t in names.items() if "memcpy" in name.lower())
        / max(busy, 1),
        "ops_ms_per_step": _top(types, n_steps),
        "kernels_ms_per_step": _top(names, n_steps),
        "host_ms_per_step": _top(threads, n_steps),
    }


def events_of(plane: Any) -> Iterable[tuple[str, int, int, str]]:
    """Name, begin and end in picoseconds, and type of operation of each event.

    Of a device, its streams count: further lines repeat their events by other names.
    """
    lines = [line for line in plane.lines if line.name.startswith("Stream")] or plane.lines
    for line in lines:
        for event in line.events:
            name = plane.event_metadata[event.metadata_id].name
            begin = line.timestamp_ns * 1000 + event.offset_ps
            yield name, begin, begin + event.duration_ps, _operation(plane, event) or name


def covered(spans: Iterable[tuple[int, int]]) -> int:
    """Length of the union of spans."""
    total, reached = 0, 0
    for begin, end in sorted(spans):
        total += max(end - max(begin, reached), 0)
        reached = max(reached, end)
    return total


def _operation(plane: Any, event: Any) -> str:
    """Type of the operation that launched a kernel, such as ``Conv2DBackpropFilter``."""
    for stat in event.stats:
        if plane.stat_metadata[stat.metadata_id].name == "tf_op":
            value = stat.str_value or plane.stat_metadata[stat.ref_value].name
            return str(value).rpartition(":")[2].rpartition("/")[2]
    return ""


def _top(times: Counter[str], n_steps: int) -> dict[str, float]:
    return {name: round(time / 1e9 / n_steps, 3) for name, time in times.most_common(_TOP)}
