"""A machine that runs Pods as processes: what a kubelet does, as far as our manifests ask for it.

Paths in arguments and variables lead to temporary directories instead of mounts and of the bucket,
and names of Services to loopback addresses, as no file system or DNS can be had without privileges.
A Pod that replaces another keeps its address, which in a cluster it would not. GPUs that a Pod
requires are not there and not required.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.k8s.containers import INDEX_FIELD, command_line, environment
from tests.k8s.manifests import Manifest, Template, of_kind
from tests.processes import ROOT

_WORD = r"[\w./-]"  # what a path or a host name is made of
_BUCKET = "gs://my-bucket"


@dataclass
class Pod:
    """A container that runs, or has run."""

    name: str
    index: int
    process: subprocess.Popen[bytes]
    directory: Path
    grace_s: float
    disrupted: bool = False  # the condition DisruptionTarget
    _kill_at: float | None = field(default=None)

    @property
    def exit_code(self) -> int | None:
        """None while it runs; 128 and the number of the signal that has ended it."""
        ended, code = self.process.returncode is not None, self.process.poll()
        if code is None:
            return None
        if not ended:
            self._signal_all()  # a container ends with its first process
        return 128 - code if code < 0 else code

    @property
    def stderr(self) -> str:
        return (self.directory / "stderr").read_text()

    def terminate(self, *, disrupted: bool) -> None:
        """Ask it to end; it is killed when the grace period is over."""
        self.disrupted = disrupted
        self._kill_at = time.monotonic() + self.grace_s
        self.process.send_signal(signal.SIGTERM)

    def preempt(self) -> None:
        """A scheduler or a drained node needs its place."""
        self.terminate(disrupted=True)

    def lose(self) -> None:
        """Its node is gone: nothing is left of it, which the Pod's conditions say."""
        self.disrupted = True
        self._signal_all()

    def run_out_of_memory(self) -> None:
        """End all processes, as the kernel does with a container that exceeds its limit."""
        self._signal_all()

    def enforce_grace_period(self) -> None:
        """To be called now and then."""
        if self._kill_at is not None and time.monotonic() > self._kill_at:
            self._signal_all()

    def _signal_all(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


class Node:
    """Volumes, addresses and Pods of some manifests; those of two runs may share a directory."""

    def __init__(self, manifests: list[Manifest], directory: Path) -> None:
        self._manifests, self._directory = manifests, directory
        self._addresses: dict[str, str] = {}
        self._subnet = f"127.{os.getpid() % 250 + 1}.{os.getpid() // 250 % 250 + 1}"
        for name, config_map in of_kind(manifests, "ConfigMap").items():
            volume = directory / "config-maps" / name
            volume.mkdir(parents=True, exist_ok=True)
            for file, text in config_map["data"].items():
                (volume / file).write_text(text)
        for name in of_kind(manifests, "PersistentVolumeClaim"):
            (directory / "claims" / name).mkdir(parents=True, exist_ok=True)

    def claim(self, name: str) -> Path:
        """Where the files of a claim are."""
        return self._directory / "claims" / name

    @property
    def bucket(self) -> Path:
        """Where its objects are."""
        return self._directory / "bucket"

    def start(self, template: Template, index: int) -> Pod:
        """Start the container of a Pod."""
        job, pods = template.owner["metadata"]["name"], self._directory / "pods"
        name = f"{job}-{index}-{len(list(pods.glob(f'{job}-{index}-*')))}"
        directory = pods / name
        (directory / "empty").mkdir(parents=True)
        mounts = self._mounts(template, directory)
        fields = {"metadata.name": name, "status.podIP": self._address(template.name, index)}
        if template.owner["spec"].get("completionMode") == "Indexed":
            fields[INDEX_FIELD] = str(index)
        config_maps = of_kind(self._manifests, "ConfigMap")
        variables = environment(template.container, config_maps, fields)
        words = command_line(template.container, variables)
        leads = mounts | self._services() | {_BUCKET: str(self.bucket)}
        with (directory / "stdout").open("wb") as out, (directory / "stderr").open("wb") as err:
            process = subprocess.Popen(
                [redirect(word, leads) for word in words],
                cwd=directory / "empty",
                env={key: redirect(value, leads) for key, value in variables.items()}
                | {
                    "PATH": f"{Path(sys.executable).parent}:{os.defpath}",  # as in the image
                    "PYTHONPATH": str(ROOT),
                    "TMPDIR": mounts["/tmp"],  # which Python would choose itself
                    "DEM_REQUIRED_GPUS": "",
                },
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,  # so that all of it can be ended at once
            )
        grace_s = template.spec["terminationGracePeriodSeconds"]
        return Pod(name, index, process, directory, grace_s)

    def _mounts(self, template: Template, directory: Path) -> dict[str, str]:
        volumes = {volume["name"]: volume for volume in template.spec["volumes"]}
        return {
            mount["mountPath"]: str(self._volume(volumes[mount["name"]], directory))
            for mount in template.container["volumeMounts"]
        }

    def _volume(self, volume: Mapping[str, Any], directory: Path) -> Path:
        if "configMap" in volume:
            return self._directory / "config-maps" / volume["configMap"]["name"]
        if "persistentVolumeClaim" in volume:
            return self.claim(volume["persistentVolumeClaim"]["claimName"])
        if volume.get("csi", {}).get("driver") == "gcsfuse.csi.storage.gke.io":
            return self.bucket
        assert "emptyDir" in volume, f"the harness knows no {volume}"
        empty = directory / "volumes" / volume["name"]
        empty.mkdir(parents=True)
        return empty

    def _services(self) -> dict[str, str]:
        """Addresses of the first Pods that they select."""
        return {
            service["metadata"]["name"]: self._address(job, 0)
            for service in of_kind(self._manifests, "Service").values()
            for job, manifest in of_kind(self._manifests, "Job").items()
            if service["spec"]["selector"].items() <= Template(manifest).labels.items()
        }

    def _address(self, job: str, index: int) -> str:
        number = len(self._addresses) + 2
        return self._addresses.setdefault(f"{job}-{index}", f"{self._subnet}.{number}")


def redirect(text: str, leads: Mapping[str, str]) -> str:
    """Put other paths and hosts in place of those that `leads` names; what is put stays."""
    names = "|".join(re.escape(name) for name in sorted(leads, key=len, reverse=True))
    pattern = rf"(?<!{_WORD})({names})(?=/|:|$)"
    return re.sub(pattern, lambda found: leads[found[1]], text)
