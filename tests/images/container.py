"""Run commands in an unpacked image as a cluster does: its user, a read-only root, a volume."""

import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.images.buildah import Image

VOLUME = "/data"

# In namespaces of mounts and processes of its own, so that nothing of it is left.
_SCRIPT = """\
set -eu
mount --make-rprivate /
mount --bind {root} {root}
mount --bind {volume} {root}{mount_point}
mount -o remount,ro,bind {root}
mount -t tmpfs -o mode=1777 tmpfs {root}/tmp
mount -t proc proc {root}/proc
mount --rbind /dev {root}/dev
exec chroot --userspec={user} --groups= {root} env -i -C {working_dir} {environment} {words}
"""


@dataclass(frozen=True)
class Container:
    """An image, where it is unpacked, and the directory that stands for its volume."""

    image: Image
    root: Path
    volume: Path

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, without the entry point."""
        (self.root / VOLUME.strip("/")).mkdir(exist_ok=True)
        script = run_script(self, words, environment)
        command = ["unshare", "--mount", "--pid", "--fork", "sh", "-c", script]
        return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def run_script(container: Container, words: tuple[str, ...], more: Mapping[str, str]) -> str:
    """Write the shell script that mounts what a container has and becomes its command."""
    image = container.image
    environment = [*image.environment, *(f"{key}={value}" for key, value in more.items())]
    return _SCRIPT.format(
        root=shlex.quote(str(container.root)),
        volume=shlex.quote(str(container.volume)),
        mount_point=VOLUME,
        user=shlex.quote(image.user),
        working_dir=shlex.quote(image.working_dir or "/"),
        environment=shlex.join(environment),
        words=shlex.join(words),
    )
