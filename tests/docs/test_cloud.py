"""docs/cloud.md, followed in order: each command with stand-ins for gcloud and the cluster."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import dem
from tests.k8s.cloud import Cloud
from tests.k8s.manifests import Manifest, needs_kubectl
from tests.processes import ROOT

pytestmark = needs_kubectl
PAGE = (ROOT / "docs" / "cloud.md").read_text()
COMMIT = "0123456789abcdef0123456789abcdef01234567"
PROJECT, BUCKET, REGION = "a-project", "a-bucket", "europe-west1"
IMAGES = f"{REGION}-docker.pkg.dev/{PROJECT}/deep-embedded-music"
OWN = {"PROJECT=my-project": f"PROJECT={PROJECT}", "BUCKET=my-bucket": f"BUCKET={BUCKET}",
       "REGION=europe-west4": f"REGION={REGION}"}  # fmt: skip


def blocks(*headings: str) -> str:
    """The commands below some headings of the page, in its order, for a project of one's own."""
    sections = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    chosen = [text for text in sections if not headings or text.startswith(headings)]
    found = [
        block
        for text in chosen
        for block in re.findall(r"^```\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    ]
    commands = "\n".join(found)
    for old, new in OWN.items():
        commands = commands.replace(old, new)
    return commands


class Reader:
    """Somebody who has a checkout, a project, and does what the page says."""

    def __init__(self, directory: Path) -> None:
        self.checkout = directory / "checkout"
        for each in ("k8s", "configs"):
            shutil.copytree(ROOT / each, self.checkout / each)
        self.cloud = Cloud(directory)
        self.cloud.change(project=PROJECT)
        self.cloud.add_program("git", f"echo {COMMIT}")
        program = shlex.join([sys.executable, "-m", "tests.k8s.kubectl"])
        self.cloud.add_program("kubectl", f'exec {program} "$@"')
        self._objects = directory / "objects.json"
        self._objects.write_text("{}")

    def follow(self, commands: str) -> str:
        environment = self.cloud.environment | {
            "KUBECTL": str(shutil.which("kubectl")),
            "KUBECTL_STATE": str(self._objects),
            "PYTHONPATH": str(ROOT),
        }
        finished = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=self.checkout,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    @property
    def objects(self) -> list[Manifest]:
        """Those of the cluster."""
        return list(json.loads(self._objects.read_text()).values())

    @property
    def jobs(self) -> dict[str, Manifest]:
        """By name."""
        return {one["metadata"]["name"]: one for one in self.objects if one["kind"] == "Job"}


def image_of(job: Manifest) -> str:
    (container,) = job["spec"]["template"]["spec"]["containers"]
    return str(container["image"])


def test_the_page_leads_from_an_empty_project_to_three_runs(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    told = reader.follow(blocks("1.", "2.", "3.", "4.", "5.", "6.", "7."))

    pushed = reader.cloud.read()["images"]
    assert pushed == [f"{IMAGES}/features:{COMMIT}", f"{IMAGES}/trainer:{COMMIT}"]
    assert {image_of(job) for job in reader.jobs.values()} == set(pushed)

    stages = ("features", "train", "classify", "embed", "index", "report")
    first = {*(f"{stage}-first" for stage in stages), "tune-chief-first", "tune-workers-first"}
    assert set(reader.jobs) == {*first, "train-tuned", "classify-tuned"}  # `mine` was removed
    assert "train-tuned tuned\n" in told
    assert "train-mine mine\n" in told
    (secret,) = [one for one in reader.objects if one["kind"] == "Secret"]
    assert secret["metadata"]["name"] == "search-token"
    assert len(secret["stringData"]["token"]) == 64
    assert not any(job["spec"]["suspend"] for job in reader.jobs.values())
    values = [
        manifest["data"]
        for manifest in reader.objects
        if manifest["metadata"]["name"].startswith("locations-")
    ]
    assert {each["FEATURES"] for each in values} == {f"gs://{BUCKET}/features"}
    assert f"gs://{BUCKET}/runs/first/search/best_config.yaml" in {
        each["TRAIN_CONFIG"] for each in values
    }


def test_the_page_cleans_up(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    reader.follow(blocks("1.", "TensorBoard for a team", "Clean-up"))
    state = reader.cloud.read()
    assert not [state[key] for key in ("clusters", "repositories", "accounts") if state[key]]


def test_without_the_settings_the_page_leads_to_the_release() -> None:
    assert f"release (`v{dem.__version__}`)" in " ".join(PAGE.split())


def test_the_build_needs_the_project_to_be_set_up(tmp_path: Path) -> None:
    variables = "\n".join(line for line in blocks("1.").splitlines() if "export" in line)
    with pytest.raises(AssertionError, match="not enabled on project"):
        Reader(tmp_path).follow(f"{variables}\n{blocks('2.')}")
