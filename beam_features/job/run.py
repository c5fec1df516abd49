"""The feature job from arguments to a complete directory: plan, resume or refuse, run, sum up."""

import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from apache_beam import Pipeline
from apache_beam.options.pipeline_options import PipelineOptions

from beam_features.datasets.split import sha256_of
from beam_features.datasets.survey import survey
from beam_features.job.attempt import Attempt
from beam_features.job.options import cause_of
from beam_features.job.output import Output
from beam_features.job.pipeline import WriteShard, build_pipeline
from beam_features.job.plan import Shard, check_contexts, check_unique, plan_shards
from beam_features.job.progress import Progress, reported
from beam_features.job.totals import as_table, sum_up
from beam_features.recording import Listing, Rejection
from beam_features.schema.dataset_info import DatasetInfo
from beam_features.schema.feature_spec import FeatureSpec
from beam_features.tiles.read import ReadSettings
from dem import storage
from dem.access import is_remote
from dem.errors import JobError

_LOG = logging.getLogger(__name__)


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
    max_failure_rate: float
    overwrite: bool


def run_job(job: FeatureJob, options: PipelineOptions) -> None:
    """Make `job.output` complete.

    Raises:
        InputError: there is nothing to read, or the output was made with other arguments.
        JobError: a worker failed, or more recordings were rejected than `job.max_failure_rate`
            allows.
    """
    output = Output(job.output)
    output.check()
    listing = survey(job.dataset, job.input, job.label_depth)
    for remark in listing.remarks:
        _LOG.info(remark)
    _check_listing(listing)
    arguments = _arguments(job, listing)
    if job.overwrite:
        output.clear()
    if info := output.finished(arguments):
        _LOG.info(f"{job.output} is already complete, nothing to do")
        print(as_table(info), flush=True)
        return
    output.claim(arguments)
    shards = plan_shards(listing.recordings, job.shards)
    labels = sorted({r.label for r in listing.recordings if r.label is not None})
    _make_shards(job, options, output, shards, labels)
    info = _finish(job, output, shards, labels, listing.skipped, arguments)
    _LOG.info(f"wrote {job.output}")
    print(as_table(info), flush=True)


def _check_listing(listing: Listing) -> None:
    remote = [r.uri for r in listing.recordings if is_remote(r.uri)]
    for uri in {uri.partition("://")[0]: uri for uri in remote}.values():  # one of each scheme
        storage.check_uri(uri)
    check_unique(listing.recordings)
    check_contexts(listing.recordings)


def _arguments(job: FeatureJob, listing: Listing) -> dict[str, Any]:
    """All that determines the content of the output."""
    listed = dataclasses.replace(listing, remarks=())  # counts of covers do not matter
    return {
        "dataset": job.dataset,
        "input": job.input,
        "shards": job.shards,
        "max_duration_s": job.max_duration_s,
        "feature_spec": dataclasses.asdict(job.spec),
        "label_depth": job.label_depth,
        "recordings": len(listing.recordings),
        "skipped": len(listing.skipped),
        "listing_sha256": sha256_of(json.dumps(dataclasses.astuple(listed))),
    }


def _make_shards(
    job: FeatureJob,
    options: PipelineOptions,
    output: Output,
    shards: Sequence[Shard],
    labels: Sequence[str],
) -> None:
    """Run the Beam job over the shards that earlier runs did not finish."""
    missing = [shard for shard in shards if not output.has(shard)]
    finished = len(shards) - len(missing)
    _LOG.info(f"{len(shards)} shards, {finished} of them finished by an earlier run")
    if not missing:
        return
    attempt = Attempt.begin(output.incomplete)
    places = attempt.write_plan(missing, {name: index for index, name in enumerate(labels)})
    write = WriteShard(attempt, job.output, ReadSettings(job.spec, job.max_duration_s))
    progress = Progress(frozenset(map(output.summary_of, missing)))
    try:
        with (
            reported(progress, output.incomplete, _LOG.info),
            Pipeline(options=options) as pipeline,
        ):
            build_pipeline(pipeline, places, write)
    except Exception as error:  # its type depends on the runner
        raise JobError(
            f"{cause_of(error, options)}; finished shards are kept, the same command resumes "
            "(--debug shows where it failed)"
        ) from error


def _finish(
    job: FeatureJob,
    output: Output,
    shards: Sequence[Shard],
    labels: Sequence[str],
    skipped: Sequence[Rejection],
    arguments: Mapping[str, Any],
) -> DatasetInfo:
    """List the rejected recordings; unless they are too many, complete the output."""
    summaries = {shard: output.read_summary(shard) for shard in shards}
    rejected = [rejection for summary in summaries.values() for rejection in summary.rejections]
    unused = sorted([*rejected, *skipped], key=lambda rejection: rejection.uri)
    output.write_rejected(unused)
    recordings = arguments["recordings"]
    rate = len(rejected) / recordings
    if rate > job.max_failure_rate:
        raise JobError(
            f"{len(rejected)} of {recordings} recordings ({rate:.1%}) were rejected, more than "
            f"--max-failure-rate {job.max_failure_rate}; the reasons are in {output.rejected}"
        )
    info = sum_up(summaries, unused, labels, job.spec, arguments)
    output.complete(info)
    return info
