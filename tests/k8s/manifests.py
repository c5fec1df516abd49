"""The manifests as kustomize renders them, and ways to find something in them."""

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.processes import ROOT

Manifest = dict[str, Any]

needs_kubectl = pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="kubectl, which renders the manifests, is not installed"
)
JOBS = ("features", "train", "classify", "embed", "index", "report")  # each a stage of its name
STAGES = (*JOBS, "tune", "tensorboard")
COMPONENTS = ("spot", "kueue", "gcsfuse", "multi-host", "flex-start", "a3-highgpu-8g")
OVERLAYS = ("local", "gke")
RENDERINGS = (
    *OVERLAYS,
    *(f"{overlay}/{stage}" for overlay in OVERLAYS for stage in STAGES),
    *(f"gke+{component}" for component in COMPONENTS),
    "gke/train+kueue",
    "gke+spot+gcsfuse+multi-host",
    "gke+a3-highgpu-8g+flex-start+multi-host",
    "gke/train+multi-host+jobset",
    "gke/train+a3-highgpu-8g+multi-host+jobset+kueue",
)
WHOLE = tuple(name for name in RENDERINGS if "/" not in name)  # not one stage alone


@functools.cache
def rendered(name: str) -> list[Manifest]:
    """Render an overlay, such as ``gke`` or ``gke/train``, with components: ``gke+spot+kueue``."""
    overlay, *components = name.split("+")
    if not components:
        return render(ROOT / "k8s" / "overlays" / overlay)
    with tempfile.TemporaryDirectory() as directory:
        k8s = os.path.relpath((ROOT / "k8s").resolve(), Path(directory).resolve())
        own = {
            "resources": [f"{k8s}/overlays/{overlay}"],
            "components": [f"{k8s}/components/{component}" for component in components],
        }
        Path(directory, "kustomization.yaml").write_text(yaml.safe_dump(own))
        return render(Path(directory))


@functools.cache
def rendered_run(*arguments: str) -> list[Manifest]:
    """Render one stage of a run with k8s/run.sh."""
    finished = run_script(*arguments)
    assert finished.returncode == 0, finished.stderr
    assert not finished.stderr, finished.stderr
    return list(yaml.safe_load_all(finished.stdout))


def run_script(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Call k8s/run.sh from another directory."""
    words = [str(ROOT / "k8s" / "run.sh"), *arguments]
    return subprocess.run(words, cwd="/", capture_output=True, text=True)


def render(directory: Path) -> list[Manifest]:
    """Render a directory as ``kubectl apply -k`` would."""
    finished = subprocess.run(
        ["kubectl", "kustomize", str(directory)], capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    assert not finished.stderr, finished.stderr  # of what kustomize will drop
    return list(yaml.safe_load_all(finished.stdout))


def of_kind(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    """All of a kind by name, without the run that it ends in."""
    found = [manifest for manifest in manifests if manifest["kind"] == kind]
    by_name = {plain_name(manifest): manifest for manifest in found}
    assert len(by_name) == len(found)
    return by_name


def plain_name(manifest: Manifest) -> str:
    """The name of an object without the run that it ends in: train, of train-first."""
    run = manifest["metadata"].get("labels", {}).get("run")
    name = str(manifest["metadata"]["name"])
    return name.removesuffix(f"-{run}") if run else name


@dataclass(frozen=True)
class Template:
    """What a Job or Deployment makes Pods of; each of ours has one container."""

    owner: Manifest

    @property
    def name(self) -> str:
        return plain_name(self.owner)

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.owner["spec"]["template"]["metadata"]["labels"])

    @property
    def spec(self) -> dict[str, Any]:
        return dict(self.owner["spec"]["template"]["spec"])

    @property
    def container(self) -> dict[str, Any]:
        (container,) = self.spec["containers"]
        return dict(container)


def jobs_of(job_set: Manifest) -> Iterator[Manifest]:
    """The Jobs that a JobSet makes, without their own names."""
    for replicated in job_set["spec"]["replicatedJobs"]:
        yield {**replicated["template"], "apiVersion": "batch/v1", "kind": "Job"} | {
            "metadata": job_set["metadata"]
        }


def templates(manifests: list[Manifest]) -> Iterator[Template]:
    """Of every Job, JobSet and Deployment."""
    for manifest in manifests:
        if manifest["kind"] == "JobSet":
            yield from map(Template, jobs_of(manifest))
        if manifest["kind"] in ("Job", "Deployment"):
            yield Template(manifest)
