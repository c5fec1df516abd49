"""Build images and look into them without a Docker engine: with buildah, in one directory."""

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"  # where Debian has it, and so all our images
_CA_VARIABLES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")


@dataclass(frozen=True)
class Image:
    """What the configuration of an image says about running it."""

    name: str
    environment: tuple[str, ...]
    user: str
    working_dir: str
    entrypoint: tuple[str, ...]
    labels: Mapping[str, str]

    @classmethod
    def of_config(cls, name: str, config: Mapping[str, Any]) -> Self:
        """Read the ``config`` of an OCI image."""
        return cls(
            name,
            tuple(config.get("Env", ())),
            config.get("User", ""),
            config.get("WorkingDir", "/"),
            tuple(config.get("Entrypoint") or ()),
            config.get("Labels") or {},
        )


class Buildah:
    """Images of ours, apart from any others on this machine."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        places = ["--root", directory / "storage", "--runroot", directory / "run"]
        self._command = ["buildah", "--storage-driver", "vfs", *map(str, places)]

    def call(self, *words: str) -> str:
        """Run a command of buildah; return what it printed."""
        finished = subprocess.run([*self._command, *words], stdout=subprocess.PIPE, text=True)
        if finished.returncode:
            raise SystemExit(f"error: buildah {' '.join(words)}: exit {finished.returncode}")
        return finished.stdout.strip()

    def can_pull(self, image: str) -> bool:
        """Whether the registry of an image can be reached, or the image is here."""
        words = [*self._command, "pull", "--quiet", "--policy", "missing", image]
        return subprocess.run(words, capture_output=True).returncode == 0

    def build(
        self,
        name: str,
        context: Path,
        dockerfile: Path,
        *,
        target: str = "",
        arguments: Mapping[str, str] | None = None,
    ) -> Image:
        """Build an image; pip in it reaches the index that this machine uses."""
        secret = self._directory / "pip.conf"
        secret.touch(mode=0o600)  # the URL of an index may have a password in it
        secret.write_text(pip_configuration())
        words = ["bud", "--isolation", "chroot", "--tag", name, "--file", str(dockerfile)]
        words += ["--secret", f"id=pip,src={secret}"]
        if authorities := _authorities():
            words += ["--volume", f"{authorities}:{CA_BUNDLE}:ro"]
        for key, value in (arguments or {}).items():
            words += ["--build-arg", f"{key}={value}"]
        if target:
            words += ["--target", target]
        subprocess.run([*self._command, *words, str(context)], check=True)
        return self.inspect(name)

    def inspect(self, name: str) -> Image:
        """Read the configuration of an image."""
        described = json.loads(self.call("inspect", "--type", "image", name))
        return Image.of_config(name, described["OCIv1"]["config"])

    def size_mib(self, name: str) -> float:
        """Say what an image takes on disk, uncompressed."""
        (image,) = json.loads(self.call("images", "--json", name))
        number, unit = image["size"].split()
        return float(number) * {"KB": 1e3, "MB": 1e6, "GB": 1e9}[unit] / 2**20

    def unpack(self, image: Image) -> tuple[str, Path]:
        """Unpack an image; return the container's name and the directory."""
        container = self.call("from", "--pull-never", image.name)
        return container, Path(self.call("mount", container))

    def remove(self, container: str) -> None:
        """Delete what `unpack` made."""
        self.call("rm", container)


def pip_configuration() -> str:
    """Say in a file for pip which index this machine uses."""
    lines = ["[global]"]
    if _authorities():
        lines.append(f"cert = {CA_BUNDLE}")
    for key in ("index-url", "extra-index-url", "trusted-host", "timeout"):
        words = ["pip", "config", "get", f"global.{key}"]
        value = subprocess.run(words, capture_output=True, text=True).stdout.strip()
        value = os.environ.get(f"PIP_{key.upper().replace('-', '_')}", value)
        urls = [word for word in value.split() if not word.startswith("file:")]
        if urls:
            lines.append(f"{key} = {' '.join(urls)}")
    return "\n".join(lines) + "\n"


def _authorities() -> str | None:
    """Return the file of certificate authorities that this machine is told to use."""
    return next((os.environ[name] for name in _CA_VARIABLES if os.environ.get(name)), None)
