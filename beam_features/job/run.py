"""The feature job from arguments to a complete directory: plan, resume or refuse, run, sum up.

While the job is under way ``OUTPUT/incomplete/`` holds the arguments, a summary per finished shard
and a directory of the run. `dataset_info.json` is written when every shard is there; then
``incomplete/`` goes.
"""

import dataclasses
import json
import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from apache_beam import Pipeline
from apache_beam.options.pipeline_options import PipelineOptions

from beam_features.datasets import DATASETS
from beam_features.datasets.split import sha256_of
from beam_features.job.pipeline import WriteShard, build_pipeline, summary_uri
from beam_features.job.plan import Shard, check_contexts, check_unique, plan_shards, shard_pattern
from beam_features.job.progress import Progress, told
from beam_features.job.run_directory import Run
from beam_features.job.runners import cause_of
from beam_features.job.shard_writer import ShardSummary
from beam_features.recording import Listing, Recording, Rejection
from beam_features.schema.dataset_info import (
    DATASET_INFO,
    DatasetInfo,
    Moments,
    Partition,
    dump_dataset_info,
    parse_dataset_info,
)
from beam_features.schema.feature_spec import FeatureSpec
from beam_features.schema.strip import SCHEMA_VERSION
from beam_features.tiles.read import ReadSettings
from dem import storage
from dem.access import is_remote
from dem.errors import InputError, JobError
from dem.settings import describe_differences

_LOG = logging.getLogger(__name__)

_INCOMPLETE = "incomplete"
_ARGUMENTS = "arguments.json"
_REJECTED = "rejected-00000-of-00001.jsonl"
_OURS = re.compile(r"[^/]+-\d{5}-of-\d{5}\.tfrecord|rejected-\d{5}-of-\d{5}\.jsonl")
_PACKAGES = ("apache-beam", "numpy", "scipy", "soundfile", "soxr")


@dataclasses.dataclass(frozen=True)
class FeatureJob:
    """What the user asked for."""

    dataset: str
    input: str
    output: str
    spec: FeatureSpec
    shards: int | None  # per partition; None: as many as the recordings ask for
    max_duration_s: float | None  # longer recordings are rejected
    max_failure_rate: float
    overwrite: bool


def run_job(job: FeatureJob, options: PipelineOptions) -> None:
    """Make `job.output` complete, or say why not.

    Raises:
        InputError: there is nothing to read, or the output was made with other arguments.
        JobError: a worker failed, or more recordings were rejected than `job.max_failure_rate`
            allows.
    """
    _check_output(job.output)
    listing = DATASETS[job.dataset](job.input)
    remote = [r.uri for r in listing.recordings if is_remote(r.uri)]
    for uri in {uri.partition("://")[0]: uri for uri in remote}.values():  # one of each scheme
        storage.check_uri(uri)
    check_unique(listing.recordings)
    check_contexts(listing.recordings)
    arguments = _arguments(job, listing)
    if job.overwrite:
        _clear(job.output)
    if storage.is_file(_in(job, DATASET_INFO)):
        info = _read_info(job)
        _check_same(job, info.source, arguments)
        storage.delete_tree(_in(job, _INCOMPLETE))
        _LOG.info(f"{job.output} is complete already, nothing to do")
        print(_summary(info), flush=True)
        return
    shards = plan_shards(listing.recordings, job.shards)
    label_ids = {name: index for index, name in enumerate(_label_names(listing.recordings))}
    _run_shards(job, options, arguments, shards, label_ids)
    info = _sum_up(job, arguments, shards, tuple(label_ids), listing.skipped)
    storage.delete(*_temporary_files(job.output))
    storage.write_text(_in(job, DATASET_INFO), dump_dataset_info(info))
    storage.delete_tree(_in(job, _INCOMPLETE))
    _LOG.info(f"wrote {job.output}")
    print(_summary(info), flush=True)


def _arguments(job: FeatureJob, listing: Listing) -> dict[str, Any]:
    """All that the content of the output follows from."""
    return {
        "dataset": job.dataset,
        "input": job.input,
        "shards": job.shards,
        "max_duration_s": job.max_duration_s,
        "feature_spec": dataclasses.asdict(job.spec),
        "recordings": len(listing.recordings),
        "skipped": len(listing.skipped),
        "listing_sha256": sha256_of(json.dumps(dataclasses.astuple(listing))),
    }


def _run_shards(
    job: FeatureJob,
    options: PipelineOptions,
    arguments: dict[str, Any],
    shards: Sequence[Shard],
    label_ids: dict[str, int],
) -> None:
    """Run the Beam job over the shards that a killed run has not finished."""
    incomplete, started = _in(job, _INCOMPLETE), _in(job, _INCOMPLETE, _ARGUMENTS)
    if storage.is_file(started):
        _check_same(job, json.loads(storage.read_text(started)), arguments)
    else:
        _refuse_foreign_files(job)
        storage.make_directory(incomplete)
        storage.write_text(started, json.dumps(arguments, indent=2))
    missing = [shard for shard in shards if not _is_made(job, shard)]
    _LOG.info(f"{len(shards)} shards to make, {len(shards) - len(missing)} of them are there")
    if missing:
        run = Run.begin(incomplete)
        progress = Progress(frozenset(summary_uri(incomplete, shard) for shard in missing))
        places = run.write_plan(missing, label_ids)
        settings = ReadSettings(job.spec, job.max_duration_s)
        write = WriteShard(run, job.output, incomplete, settings)
        try:
            with told(progress, incomplete, _LOG.info), Pipeline(options=options) as pipeline:
                build_pipeline(pipeline, places, write)
        except Exception as error:  # what it is depends on the runner
            raise JobError(
                f"{cause_of(error, options)}; finished shards are kept, the same command goes on "
                "(--debug shows where it failed)"
            ) from error


def _is_made(job: FeatureJob, shard: Shard) -> bool:
    """Whether a shard need not be made again: what could not be read may be readable by now."""
    summary = summary_uri(_in(job, _INCOMPLETE), shard)
    if not (storage.is_file(summary) and storage.is_file(_in(job, shard.name))):
        return False
    rejections = ShardSummary.parse(storage.read_text(summary)).rejections
    return all(rejection.stage != "read" for rejection in rejections)


def _sum_up(
    job: FeatureJob,
    arguments: dict[str, Any],
    shards: Sequence[Shard],
    labels: tuple[str, ...],
    skipped: Sequence[Rejection],
) -> DatasetInfo:
    """Combine the shards' summaries and write the rejected recordings and the skipped files."""
    incomplete = _in(job, _INCOMPLETE)
    summaries = {
        shard: ShardSummary.parse(storage.read_text(summary_uri(incomplete, shard)))
        for shard in shards
    }
    rejected = [rejection for summary in summaries.values() for rejection in summary.rejections]
    unused = sorted([*rejected, *skipped], key=lambda rejection: rejection.uri)
    lines = [json.dumps(dataclasses.asdict(rejection)) + "\n" for rejection in unused]
    storage.write_text(_in(job, _REJECTED), "".join(lines))
    _check_failure_rate(job, len(rejected), arguments["recordings"])
    names = sorted({shard.partition for shard in shards})
    return DatasetInfo(
        schema_version=SCHEMA_VERSION,
        feature_spec=job.spec,
        fingerprint=job.spec.fingerprint,
        label_names=labels,
        partitions={
            name: _partition([s for s in shards if s.partition == name], summaries, job.spec)
            for name in names
        },
        rejected=dict(sorted(Counter(rejection.reason for rejection in unused).items())),
        source=arguments,
        versions={package: version(package) for package in _PACKAGES},
    )


def _partition(
    shards: Sequence[Shard], summaries: dict[Shard, ShardSummary], spec: FeatureSpec
) -> Partition:
    parts = [summaries[shard] for shard in shards]
    return Partition(
        shards=shard_pattern(shards[0].partition, len(shards)),
        n_shards=len(shards),
        strips=sum(part.strips for part in parts),
        tiles=sum(part.tiles for part in parts),
        recordings=sum(part.recordings for part in parts),
        silent=sum(part.silent for part in parts),
        seconds=sum(part.seconds for part in parts),
        moments=Moments.total((part.moments for part in parts), spec.n_mels),
    )


def _check_failure_rate(job: FeatureJob, rejected: int, recordings: int) -> None:
    rate = rejected / recordings
    if rate > job.max_failure_rate:
        raise JobError(
            f"{rejected} of {recordings} recordings ({rate:.1%}) were rejected, more than "
            f"--max-failure-rate {job.max_failure_rate}; the reasons are in {_in(job, _REJECTED)}"
        )


def _check_output(output: str) -> None:
    storage.check_uri(output)
    if storage.is_file(output):
        raise InputError(f"--output {output!r} is a file; name a directory")


def _check_same(job: FeatureJob, there: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Refuse to mix the results of different arguments."""
    different = describe_differences(there, asked)
    if different:
        raise InputError(
            f"{job.output} was made with other arguments: {different}; "
            "choose another --output, or replace it with --overwrite"
        )


def _refuse_foreign_files(job: FeatureJob) -> None:
    """A directory with shards but no record of their arguments is not ours to continue."""
    shards = [uri for uri in _shards_and_rejected(job.output) if uri.endswith(".tfrecord")]
    if shards:
        raise InputError(
            f"{job.output} holds shards such as {shards[0]!r} and no record of their arguments; "
            "choose another --output, or replace it with --overwrite"
        )


def _clear(output: str) -> None:
    """Delete what earlier jobs left, and nothing else; the marks of completeness go first."""
    storage.delete(storage.join(output, DATASET_INFO))
    storage.delete_tree(storage.join(output, _INCOMPLETE))
    storage.delete(*_shards_and_rejected(output), *_temporary_files(output))


def _shards_and_rejected(output: str) -> list[str]:
    """Files directly in `output` that bear the names of ours; other datasets may lie below it."""
    uris = storage.list_files(output)
    return [uri for uri in uris if _OURS.fullmatch(uri.removeprefix(output + "/"))]


def _temporary_files(output: str) -> list[str]:
    """What killed runs left directly in `output`; workers write below ``incomplete/`` only."""
    ours = {storage.join(output, name) for name in (DATASET_INFO, _REJECTED)}
    return [uri for uri in storage.list_files(output) if storage.intended_name(uri) in ours]


def _read_info(job: FeatureJob) -> DatasetInfo:
    uri = _in(job, DATASET_INFO)
    return parse_dataset_info(storage.read_text(uri), uri)


def _label_names(recordings: Sequence[Recording]) -> list[str]:
    return sorted({recording.label for recording in recordings if recording.label is not None})


def _in(job: FeatureJob, *names: str) -> str:
    return storage.join(job.output, *names)


def _summary(info: DatasetInfo) -> str:
    """Counts as a table for people."""
    header = ("recordings", "silent", "strips", "tiles", "hours")
    lines = [f"{'partition':<14}" + "".join(f"{word:>11}" for word in header)]
    for name, part in info.partitions.items():
        counts = (part.recordings, part.silent, part.strips, part.tiles)
        columns = "".join(f"{count:>11}" for count in counts)
        lines.append(f"{name:<14}{columns}{part.seconds / 3600:>11.2f}")
    rejected = ", ".join(f"{count} {reason}" for reason, count in info.rejected.items())
    lines.append(f"rejected: {rejected or 'none'}")
    return "\n".join(lines)
