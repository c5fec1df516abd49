"""Fetch and unpack the archives of a dataset one by one; it appears complete or not at all."""

import logging
import shlex
import shutil
from pathlib import Path

from beam_features.download.catalogue import Archive, Dataset
from beam_features.download.fetch import fetch
from beam_features.download.unpack import unpack
from dem.errors import InputError, JobError

_LOG = logging.getLogger(__name__)

_DONE = ".unpacked"  # in the staging directory: an empty file per unpacked archive


def download(
    dataset: Dataset,
    output: Path,
    *,
    base_url: str | None = None,
    retries: int = 5,
    keep_archives: bool = False,
) -> None:
    """Have `dataset` below `output`, fetching only what is missing.

    Archives unpack into a staging directory; its contents are renamed once all are there. So the
    disk holds one archive at a time, and what an earlier call has unpacked is not fetched again.

    Raises:
        InputError: `output` holds something else under the names of the dataset.
        JobError: an archive cannot be fetched or is not what it should be.
    """
    staging = output / f"{dataset.name}-incomplete"
    archives = output / f"{dataset.name}-archives"
    if not _is_complete(dataset, output, staging):
        _say_what_comes(dataset, output, keep_archives=keep_archives)
        (staging / _DONE).mkdir(parents=True, exist_ok=True)
        archives.mkdir(exist_ok=True)
        for number, archive in enumerate(dataset.archives, start=1):
            mark = staging / _DONE / archive.name
            if not mark.exists():
                _LOG.info(f"[{number}/{len(dataset.archives)}] {archive.name}")
                path = fetch(archive, _url(archive, base_url), archives, retries)
                unpack(path, staging, dataset.roots)
                mark.touch()
            if not keep_archives:
                (archives / archive.name).unlink(missing_ok=True)
        _publish(dataset, staging, output, archives)
    if staging.exists():
        shutil.rmtree(staging)
    if archives.exists() and not keep_archives:
        shutil.rmtree(archives)
    _say_what_next(dataset, output)


def _is_complete(dataset: Dataset, output: Path, staging: Path) -> bool:
    """Whether all is in place; a kill may have left no more than the staging directory to remove.

    Raises:
        InputError: a directory of the dataset's name is there that this command did not make.
    """
    present = [root for root in dataset.roots if (output / root).exists()]
    pending = [root for root in dataset.roots if (staging / root).exists()]
    foreign = f"{output} holds {' and '.join(present)}, but not all of {dataset.name}"
    remedy = "move it away or choose another --output"
    if len(present) < len(dataset.roots):
        if present and not staging.exists():
            raise InputError(f"{foreign}; {remedy}")
        return False
    if pending:
        raise InputError(f"{foreign}, part of which is in {staging}; {remedy}")
    lacking = _lacking(dataset, output)
    if lacking:
        raise InputError(f"{foreign}: {lacking}; {remedy}")
    _LOG.info(f"{dataset.name} is complete in {output}; nothing to fetch")
    return True


def _publish(dataset: Dataset, staging: Path, output: Path, archives: Path) -> None:
    """Rename what is unpacked into its place, if it is what the dataset should hold."""
    pending = [root for root in dataset.roots if (staging / root).exists()]
    if len(pending) == len(dataset.roots):  # else a kill came between two renames, after the check
        lacking = _lacking(dataset, staging)
        if lacking and all(archive.checksum for archive in dataset.archives):
            raise JobError(
                f"every checksum is right, but {staging} holds {lacking}; the layout must have "
                "changed, please report it"
            )
        if lacking:
            shutil.rmtree(staging)
            shutil.rmtree(archives)
            raise JobError(
                f"{dataset.name} is not what it should be: {lacking}; all of it is deleted, run "
                "the same command again to fetch it anew"
            )
    for root in pending:
        (staging / root).rename(output / root)


def _lacking(dataset: Dataset, directory: Path) -> str | None:
    """What `directory` lacks of the dataset, in words."""
    for pattern, least in dataset.required:
        found = sum(1 for _ in directory.glob(pattern))
        if found < least:
            return f"{found} of {least} files {pattern}"
    return None


def _url(archive: Archive, base_url: str | None) -> str:
    return archive.url if base_url is None else f"{base_url.rstrip('/')}/{archive.name}"


def _say_what_comes(dataset: Dataset, output: Path, *, keep_archives: bool) -> None:
    """Print licence and sizes before anything is fetched."""
    sizes = [archive.size_bytes for archive in dataset.archives]
    needed = dataset.unpacked_bytes + (sum(sizes) if keep_archives else max(sizes))
    output.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(output).free
    print(f"licence: {dataset.licence}")
    print(f"download: about {_gb(sum(sizes))} in {len(sizes)} zip file(s)")
    print(f"disk: about {_gb(needed)} needed in {output}, {_gb(free)} free")
    if any(archive.checksum is None for archive in dataset.archives):
        print("checksum: none is published; checked by the zip's own CRCs and the number of files")
    print(flush=True, end="")


def _gb(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB"


def _say_what_next(dataset: Dataset, output: Path) -> None:
    source = shlex.quote(str(output / dataset.input))
    features = shlex.quote(str(output / f"{dataset.name}-features"))
    print(f"{dataset.name} is in {output}; next:")
    print(
        f"python -m beam_features --dataset {dataset.adapter} --input {source} --output {features}"
    )
