"""Download and unpack the archives of a dataset one by one; it appears complete or not at all."""

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
    """Download what is missing of `dataset` into `output`.

    Archives are unpacked into a staging directory; its contents are renamed once all are unpacked.
    So the disk holds one archive at a time, and what an earlier call unpacked is not downloaded
    again.

    Raises:
        InputError: `output` holds something else under the names of the dataset.
        JobError: an archive cannot be downloaded or is not as expected.
    """
    staging = output / f"{dataset.name}-incomplete"
    archives = output / f"{dataset.name}-archives"
    if not _is_complete(dataset, output, staging):
        _announce(dataset, output, keep_archives=keep_archives)
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
    _suggest_next_command(dataset, output)


def _is_complete(dataset: Dataset, output: Path, staging: Path) -> bool:
    """Whether the dataset is in place, even if a killed run left its staging directory.

    Raises:
        InputError: there is a directory of the dataset's name that this command did not make.
    """
    present = [root for root in dataset.roots if (output / root).exists()]
    pending = [root for root in dataset.roots if (staging / root).exists()]
    foreign = f"{output} holds {' and '.join(present)}, but not all of {dataset.name}"
    remedy = "move it or choose another --output"
    if len(present) < len(dataset.roots):
        if present and not staging.exists():
            raise InputError(f"{foreign}; {remedy}")
        return False
    if pending:
        raise InputError(f"{foreign}, part of which is in {staging}; {remedy}")
    if missing := _missing(dataset, output):
        raise InputError(f"{foreign}: {missing}; {remedy}")
    _LOG.info(f"{dataset.name} is already complete in {output}, nothing to download")
    return True


def _publish(dataset: Dataset, staging: Path, output: Path, archives: Path) -> None:
    """Move what is unpacked into place, if it has the files that the dataset should have."""
    pending = [root for root in dataset.roots if (staging / root).exists()]
    if len(pending) == len(dataset.roots):  # else killed between two renames, after this check
        missing = _missing(dataset, staging)
        if missing and all(archive.checksum for archive in dataset.archives):
            raise JobError(
                f"all checksums match, but {staging} holds {missing}; the layout must have "
                "changed, please report it"
            )
        if missing:
            shutil.rmtree(staging)
            shutil.rmtree(archives)
            raise JobError(
                f"{dataset.name} is not as expected: {missing}; it was deleted, run the same "
                "command to download it again"
            )
    for root in pending:
        (staging / root).rename(output / root)


def _missing(dataset: Dataset, directory: Path) -> str | None:
    """Describe the files of the dataset that `directory` lacks."""
    for pattern, least in dataset.required:
        found = sum(1 for _ in directory.glob(pattern))
        if found < least:
            return f"{found} of {least} files {pattern}"
    return None


def _url(archive: Archive, base_url: str | None) -> str:
    return archive.url if base_url is None else f"{base_url.rstrip('/')}/{archive.name}"


def _announce(dataset: Dataset, output: Path, *, keep_archives: bool) -> None:
    """Print licence and sizes before anything is downloaded."""
    sizes = [archive.size_bytes for archive in dataset.archives]
    needed = dataset.unpacked_bytes + (sum(sizes) if keep_archives else max(sizes))
    output.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(output).free
    print(f"licence: {dataset.licence}")
    print(f"download: about {_gb(sum(sizes))} in {len(sizes)} zip file(s)")
    print(f"disk: about {_gb(needed)} needed in {output}, {_gb(free)} free")
    if any(archive.checksum is None for archive in dataset.archives):
        print("checksum: none published; verified by the CRCs in the zip and the number of files")
    print(flush=True, end="")


def _gb(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB"


def _suggest_next_command(dataset: Dataset, output: Path) -> None:
    source = shlex.quote(str(output / dataset.input))
    features = shlex.quote(str(output / f"{dataset.name}-features"))
    print(f"{dataset.name} is in {output}; next:")
    print(
        f"python -m beam_features --dataset {dataset.adapter} --input {source} --output {features}"
    )
