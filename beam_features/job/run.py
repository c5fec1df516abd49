"""The feature job from arguments to a complete directory: plan, resume or refuse, run, sum up."""

import dataclasses
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from beam_features.datasets import DATASETS
from beam_features.datasets.split import sha256_of
from beam_features.datasets.survey import survey
from beam_features.job.attempt import Attempt, PlannedShard
from beam_features.job.duplicates import equal_files, share_sessions
from beam_features.job.engine import Engine, EngineError
from beam_features.job.finished import FinishedShard, sources_of
from beam_features.job.location import check_apart, check_not_within
from beam_features.job.maker import ShardMaker
from beam_features.job.output import Claim, Earlier, Output
from beam_features.job.plan import check_contexts, check_unique
from beam_features.job.progress import Progress, reported
from beam_features.job.reasons import reasons_table
from beam_features.job.share import Share
from beam_features.job.totals import as_table, sum_up
from beam_features.job.update import (
    WORTH_A_WORKER,
    Listed,
    Plan,
    decoded_in,
    describe_changes,
    plan_update,
)
from beam_features.recording import Listing
from beam_features.schema.dataset_info import DatasetInfo
from beam_features.schema.feature_spec import FeatureSpec
from beam_features.schema.mel_filters import check_no_filter_is_empty
from beam_features.tiles.read import ReadSettings
from dem import storage
from dem.access import FileVersion, is_remote
from dem.errors import InputError, JobError

_LOG = logging.getLogger(__name__)

_LIBRARIES = ("folder", "csv")  # collections of users: a few files are always damaged
_OF_LIBRARIES, _OF_BENCHMARKS = 0.1, 0.01  # share of recordings that may be rejected


@dataclasses.dataclass(frozen=True)
class FeatureJob:
    """What the user asked for."""

    dataset: str
    input: str
    output: str
    spec: FeatureSpec
    label_depth: int | None  # of the dataset `folder`
    shards: int | None  # per partition; None: depends on the number of recordings
    max_duration_s: float | None  # longer recordings are rejected
    max_failure_rate: float | None  # None: depends on the dataset
    overwrite: bool
    share: Share | None = None  # None: all shards

    @property
    def arguments(self) -> dict[str, Any]:
        """All that determines the tiles of a recording, and the shards of the first run."""
        return {
            "dataset": self.dataset,
            "input": self.input,
            "shards": self.shards,
            "max_duration_s": self.max_duration_s,
            "feature_spec": dataclasses.asdict(self.spec),
            "label_depth": self.label_depth,
        }

    @property
    def tolerance(self) -> float:
        """Share of recordings that may be rejected."""
        if self.max_failure_rate is not None:
            return self.max_failure_rate
        return _OF_LIBRARIES if self.dataset in _LIBRARIES else _OF_BENCHMARKS


def run_job(job: FeatureJob, engine: Engine) -> None:
    """Make `job.output` complete and up to date.

    Args:
        job: what is asked for.
        engine: makes the shards.

    Raises:
        InputError: there is nothing to read, or the output was made with other arguments.
        JobError: a worker failed, or more recordings were rejected than the job tolerates.
    """
    output = Output(job.output)
    output.check()
    found = survey(job.dataset, job.input, job.label_depth)
    _check_storage(found)
    versions = storage.file_versions(recording.uri for recording in found.recordings)
    for remark in found.remarks:
        _LOG.info(remark)
    listing = _with_shared_sessions(found, versions)
    check_unique(listing.recordings)
    check_contexts(listing.recordings)
    if job.dataset in DATASETS:
        check_not_within(job.output, job.input)
    check_apart(listing.recordings, job.output)
    if job.overwrite:
        check_no_filter_is_empty(job.spec)
        output.clear()
    earlier = output.earlier(job.arguments)
    if not earlier.info:
        check_no_filter_is_empty(job.spec)
    if earlier.info and _is_of_earlier_version(earlier, found, job.output):
        _say_complete(job.output, earlier.info)
        return
    claim = _claim(job, listing, versions, earlier)
    listed = Listed(
        listing.recordings, versions, {name: index for index, name in enumerate(claim.labels)}
    )
    before = earlier.before(claim.update)
    plan = plan_update(listed, before, claim.update, job.shards)
    if before:
        _LOG.info(describe_changes(listed, before))
    shards = _make_shards(job, engine, output, plan, claim, earlier)
    if job.share and plan.made:
        shards = _with_others(job.share, output, plan, claim, shards)
        if not shards:
            return
    _finish(job, output, shards, listing, claim, earlier)


def _check_storage(listing: Listing) -> None:
    remote = [r.uri for r in listing.recordings if is_remote(r.uri)]
    for uri in {uri.partition("://")[0]: uri for uri in remote}.values():  # one of each scheme
        storage.check_uri(uri)


def _with_shared_sessions(listing: Listing, versions: Mapping[str, FileVersion]) -> Listing:
    """Put recordings whose files are equal into one session."""
    groups = equal_files(versions, _LOG.info)
    if not groups:
        return listing
    copies = sum(len(group) - 1 for group in groups)
    _LOG.info(f"{copies} of {len(versions)} files are copies of another; copies share a session")
    return dataclasses.replace(listing, recordings=share_sessions(listing.recordings, groups))


def _listing_sha256(listing: Listing) -> str:
    """Digest of the listing without what was added to it after version 0.2."""
    later = ("columns", "drawn")
    recordings = [
        [getattr(r, field.name) for field in dataclasses.fields(r) if field.name not in later]
        for r in listing.recordings
    ]
    return sha256_of(json.dumps([recordings, list(map(dataclasses.astuple, listing.skipped))]))


def _is_of_earlier_version(earlier: Earlier, listing: Listing, output: str) -> bool:
    """Whether a complete directory has no record of its files; it stays valid as it is.

    Raises:
        InputError: it has none, and the recordings have changed.
    """
    info = earlier.info
    if info is None or "update" in info.source:
        return False
    if info.source.get("listing_sha256") != _listing_sha256(listing):
        raise InputError(
            f"{output} was made from other recordings by an earlier version, which did not record "
            "their files; choose another --output, or replace it with --overwrite"
        )
    return True


def _claim(
    job: FeatureJob,
    listing: Listing,
    versions: Mapping[str, FileVersion],
    earlier: Earlier,
) -> Claim:
    """Say what this run makes."""
    labels = (r.label for r in listing.recordings if r.label is not None)
    files = [(dataclasses.astuple(r), versions.get(r.uri)) for r in listing.recordings]
    files_sha256 = sha256_of(json.dumps(files, default=dataclasses.astuple))
    return Claim(
        job.arguments,
        earlier.next_update(files_sha256),
        files_sha256,
        tuple(earlier.labels(labels)),
    )


def _make_shards(
    job: FeatureJob,
    engine: Engine,
    output: Output,
    plan: Plan,
    claim: Claim,
    earlier: Earlier,
) -> list[FinishedShard]:
    """Make the shards that are missing; return all in the order of their names.

    With a share, those of the share; what could not be read is then left to a later run, since
    another Pod may be completing the output.
    """
    there = {finished.shard.name: finished for finished in earlier.unfinished}
    wanted = job.share.of(plan.made) if job.share else plan.made
    is_done = _is_made if job.share else _is_done
    done = [there[p.shard.name] for p in wanted if is_done(p, there.get(p.shard.name))]
    names = {finished.shard.name for finished in done}
    missing = [planned for planned in wanted if planned.shard.name not in names]
    finished = [*plan.kept, *done]
    if plan.made or not earlier.info:
        total = len(finished) + len(missing)
        share = f" in share {job.share}" if job.share else ""
        _LOG.info(f"{total} shards{share}, {len(finished)} of them finished by an earlier run")
    if missing:
        output.claim(claim)
        if claim.update and decoded_in(missing) < WORTH_A_WORKER:
            engine.use_one_process()
        finished += _run_engine(job, engine, output, missing)
    return _in_order(finished)


def _in_order(shards: Iterable[FinishedShard]) -> list[FinishedShard]:
    return sorted(shards, key=lambda f: (f.shard.partition, f.shard.update, f.shard.index))


def _is_made(planned: PlannedShard, finished: FinishedShard | None) -> bool:
    """Whether a shard is the planned one."""
    return finished is not None and (finished.shard, finished.versions) == (
        planned.shard,
        planned.versions,
    )


def _is_done(planned: PlannedShard, finished: FinishedShard | None) -> bool:
    """Whether a shard need not be made again: recordings that could not be read are retried."""
    return (
        finished is not None
        and _is_made(planned, finished)
        and not any(map(finished.is_to_be_retried, finished.recordings))
    )


def _with_others(
    share: Share, output: Output, plan: Plan, claim: Claim, ours: Sequence[FinishedShard]
) -> list[FinishedShard]:
    """Add the shards of the other shares; return none where another Pod completes the output."""
    names = {finished.shard.name for finished in ours}
    others = {p.shard.name: p for p in plan.made if p.shard.name not in names}
    found = output.finished_of(planned.shard for planned in others.values())
    made = [finished for finished in found if _is_made(others[finished.shard.name], finished)]
    if len(made) < len(others) and not output.leave_to_another(claim):
        _LOG.info(
            f"share {share} is finished; {len(others) - len(made)} of {len(plan.made)} shards are "
            "missing in other shares, whose last one completes the output"
        )
    elif len(made) == len(others) and output.is_ours_to_complete(claim, share):
        return _in_order([*ours, *made])
    else:
        _LOG.info(f"share {share} is finished; another one completes the output")
    return []


def _run_engine(
    job: FeatureJob, engine: Engine, output: Output, missing: Sequence[PlannedShard]
) -> list[FinishedShard]:
    """Make shards.

    Raises:
        JobError: a worker failed, or the summary of a shard cannot be read.
    """
    attempt = Attempt.begin(output.incomplete, job.share)
    output.forget(planned.shard for planned in missing)
    places = attempt.write_plan(missing)
    maker = ShardMaker(attempt, job.output, ReadSettings(job.spec, job.max_duration_s))
    names = [planned.shard.name for planned in missing]
    summaries = [output.summary_of(planned.shard) for planned in missing]
    progress = Progress(frozenset(summaries))
    try:
        with reported(progress, output.incomplete, _LOG.info):
            engine.make_shards(maker, dict(zip(names, places, strict=True)))
    except EngineError as error:
        raise JobError(
            f"{error}; finished shards are kept, the same command resumes "
            "(--debug shows where it failed)"
        ) from error
    for uri in summaries:
        if uri not in progress.finished:
            raise JobError(f"{uri} is damaged; run the same command again to make its shard again")
    return [progress.finished[uri] for uri in summaries]


def _finish(
    job: FeatureJob,
    output: Output,
    shards: Sequence[FinishedShard],
    listing: Listing,
    claim: Claim,
    earlier: Earlier,
) -> None:
    """List the rejected recordings; unless they are too many, complete the output."""
    rejected = [rejection for finished in shards for rejection in finished.summary.rejections]
    unused = sorted([*rejected, *listing.skipped], key=lambda rejection: rejection.uri)
    summaries = {f.shard: f.summary for f in shards if f.is_listed}
    source = _source(job, listing, claim)
    info = sum_up(summaries, sources_of(shards), unused, claim.labels, job.spec, source)
    if earlier.info and _is_same(info, earlier.info) and tuple(shards) == earlier.complete:
        output.clean_up(earlier.info)
        _say_complete(job.output, earlier.info)
        print(reasons_table(unused, job.input), flush=True)
        return
    output.write_rejected(unused)
    print(as_table(info))
    print(reasons_table(unused, job.input), flush=True)
    _check_rate(job, len(rejected), len(listing.recordings), output.rejected)
    output.complete(info, shards)
    output.clean_up(info)
    _LOG.info(f"wrote {job.output}")


def _source(job: FeatureJob, listing: Listing, claim: Claim) -> dict[str, Any]:
    """What the features were made from: a part of ``dataset_info.json``."""
    return job.arguments | {
        "recordings": len(listing.recordings),
        "skipped": len(listing.skipped),
        "listing_sha256": _listing_sha256(listing),
        "update": claim.update,
    }


def _is_same(new: DatasetInfo, old: DatasetInfo) -> bool:
    """Whether they differ at most in the run that wrote them."""
    source = {**new.source, "update": old.source["update"]}
    return dataclasses.replace(new, source=source, versions=old.versions) == old


def _check_rate(job: FeatureJob, rejected: int, recordings: int, listed_in: str) -> None:
    rate = rejected / recordings
    share = f"{rejected} of {recordings} recordings ({rate:.1%}) were rejected"
    if rate > job.tolerance:
        raise JobError(
            f"{share}, more than --max-failure-rate {job.tolerance}; the reasons are in {listed_in}"
        )
    if rate > _OF_BENCHMARKS:
        _LOG.warning(f"{share}; the reasons are in {listed_in}")


def _say_complete(output: str, info: DatasetInfo) -> None:
    _LOG.info(f"{output} is already complete, nothing to do")
    print(as_table(info), flush=True)
