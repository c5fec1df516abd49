"""The commands of docs/buckets.md, as they stand there."""

import json
import re
import shlex
import time
import urllib.request

import pytest

from tests.buckets.commands import run_in, start_in
from tests.buckets.storage_service import StorageService
from tests.cluster import free_ports
from tests.processes import ROOT


def documented_commands(bucket: str) -> list[list[str]]:
    """Words of each command in the page's blocks, with a real name for ``BUCKET``."""
    text = (ROOT / "docs" / "buckets.md").read_text()
    lines = [
        line
        for block in re.findall(r"```\n(.*?)```", text, re.DOTALL)
        for line in block.splitlines()
    ]
    return [shlex.split(line.replace("BUCKET", bucket)) for line in lines]


def test_the_page_has_commands_of_these_two_kinds_only() -> None:
    commands = documented_commands("some-bucket")
    assert len(commands) == 8
    assert {words[0] for words in commands} == {"dem", "tensorboard"}


@pytest.mark.slow
def test_the_commands_run_in_their_order(gcs: StorageService, bucket: str) -> None:
    *stages, board = documented_commands(bucket)
    for words in stages:
        finished = run_in(gcs, *words)  # python -m dem …
        assert finished.returncode == 0, (words, finished.stderr)
    assert {
        "features/dataset_info.json",
        "job/metrics.json",
        "job/classifier/trained-logistic/metrics.json",
        "job/report.html",
        "vectors/_embeddings_info.json",
        "index/index_info.json",
        "map.html",
    } <= set(gcs.names(bucket))
    assert "recall_at_1" in tags_shown(gcs, board[1:])


def tags_shown(gcs: StorageService, words: list[str]) -> list[str]:
    """Start TensorBoard and ask until it shows scalars."""
    (port,) = free_ports(1)
    server = start_in(gcs, "tensorboard.main", *words, "--port", port, "--host", "127.0.0.1")
    url = f"http://127.0.0.1:{port}/data/plugin/scalars/tags"
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            time.sleep(0.5)
            try:
                with urllib.request.urlopen(url, timeout=30) as answer:
                    runs = json.load(answer)
            except OSError:  # it has not started
                continue
            if runs:
                return [tag for tags in runs.values() for tag in tags]
    finally:
        server.kill()
        server.communicate()
    return []
