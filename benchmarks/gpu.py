"""How training runs on a GPU, in minutes: ``python -m benchmarks.gpu [--features DIR] [--quick]``.

A JSON line per case, as soon as it is done:

* step: tiles per second of an encoder in a mode, the step against the same step on a batch that is
  resident on the device, the share of waiting for input, and the peak of the GPU's memory;
* placements: frames on the device, against tiles cut by the host;
* parts: the encoder alone, and steps without augmentation and with random mining;
* profile: idle share of the device, and the operations and kernels that take its time;
* the same with ``TF_GPU_THREAD_MODE=gpu_private``, a remedy for kernels that are launched late;
* replicas: weights after three SGD steps on two logical devices, against one;
* saved_model: embeddings on the device, with and without TF32, against those on the CPU.

Cases run in processes that are killed if a case takes longer than ``--case-s``. ``--device cpu
--quick`` rehearses everything on a CPU.
"""

import argparse
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from beam_features.schema.feature_spec import FeatureSpec
from benchmarks.corpora import write_corpus

ENCODERS = ("conv2d", "resnet18", "resnet50", "efficientnet_v2_b0")
MODES = ("mixed_bfloat16", "float32", "jit_compile")
Case = list[str]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--features", help="directory of features (default: synthetic songs)")
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--quick", action="store_true", help="small tiles and batches, short turns")
    parser.add_argument("--encoders", nargs="+", default=list(ENCODERS))
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--batch-size", type=int, help="1024, or 8 if quick")
    parser.add_argument("--case-s", type=float, default=120.0, help="limit of a case")
    known = parser.parse_args(arguments)
    environment = {"CUDA_VISIBLE_DEVICES": "-1"} if known.device == "cpu" else {}
    with tempfile.TemporaryDirectory() as home:
        settings = {
            "features": known.features or _songs(Path(home), quick=known.quick),
            "home": home,
            "batch_size": known.batch_size or (8 if known.quick else 1024),
            "seconds": 0.1 if known.quick else 2.0,
        }
        for variables, cases in groups(known.encoders, known.modes):
            run_cases(settings, cases, environment | variables, known.case_s)


def groups(
    encoders: Sequence[str], modes: Sequence[str]
) -> list[tuple[dict[str, str], list[Case]]]:
    """Cases by the process they share, with its further environment."""
    first, fastest = encoders[0], modes[0]
    one = [first, fastest]
    steps = [["step", encoder, mode] for mode in modes for encoder in encoders]
    looks = [["profile", *one], ["parts", *one], ["placements", *one]]
    exported = [["saved_model", encoder] for encoder in encoders[:2]]
    return [
        ({}, [["device"], *steps[: len(encoders)], *looks, *steps[len(encoders) :]]),
        ({"TF_GPU_THREAD_MODE": "gpu_private"}, [["step", *one], ["profile", *one]]),
        ({}, [["replicas", "1"]]),
        ({}, [["replicas", "2"]]),
        ({}, [[*case, "device"] for case in exported]),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, [[*case, "cpu"] for case in exported]),
    ]


def run_cases(
    settings: Mapping[str, object],
    cases: Sequence[Case],
    environment: Mapping[str, str],
    limit_s: float,
) -> None:
    """Run cases in a process; after one that does not end, the others go on in a new one."""
    left = list(cases)
    while left:
        command = [sys.executable, "-m", "benchmarks.cases", json.dumps(settings), json.dumps(left)]
        with subprocess.Popen(  # noqa: S603 - our own command
            command, env=os.environ | environment, stdout=subprocess.PIPE, text=True
        ) as process:
            lines = _lines(process)
            while left and (line := _next_line(lines, limit_s)):
                row = json.loads(line) | {"environment": dict(environment)}
                print(json.dumps(row), flush=True)
                left.pop(0)
            process.kill()  # it has ended, or does not end
        if left:
            case, reason = " ".join(left.pop(0)), f"no result within {limit_s:.0f} s"
            print(json.dumps({"case": case, "error": f"{reason}, or the process died"}), flush=True)


def _lines(process: "subprocess.Popen[str]") -> "queue.Queue[str]":
    """What a process prints, and an empty line at the end."""
    lines: queue.Queue[str] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    return lines


def _next_line(lines: "queue.Queue[str]", limit_s: float) -> str:
    try:
        return lines.get(timeout=limit_s)
    except queue.Empty:
        return ""


def _songs(home: Path, *, quick: bool) -> str:
    """Songs of four minutes, or a few small ones."""
    if quick:
        return write_corpus(home / "songs", 16, 8, FeatureSpec(n_mels=32, tile_s=0.32))
    return write_corpus(home / "songs", 96, 240)


if __name__ == "__main__":
    main()
