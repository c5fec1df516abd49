"""What adapters and job share: a recording, a listing, and why a file could not be used."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Recording:
    """One audio file and its place in the dataset; see the glossary in README.md."""

    recording_id: str
    uri: str
    label: str | None
    partition: str
    context_id: str
    session_id: str
    sensor_id: str = ""
    offset_s: float = 0.0  # its start in the context
    columns: tuple[tuple[str, str], ...] = ()  # further columns of a table, such as the artist
    drawn: bool = False  # the partition, by datasets/split.py: drawn again when sessions merge


@dataclass(frozen=True, slots=True)
class Rejection:
    """A line of ``rejected-*.jsonl``."""

    uri: str
    stage: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the job found in one recording: why it is rejected, or what was measured."""

    recording_id: str
    rejection: Rejection | None = None
    seconds: float = 0.0
    bytes_read: int = 0
    cancelled: bool = False  # the mean of the channels is weaker by 20 dB or more than they are
    audible_share: float = 0.0  # of its tiles, those that are not silent; 0 if it is constant
    samples_sha256: str | None = None  # of the decoded samples

    @property
    def silent(self) -> bool:
        """Whether it was used and holds no sound."""
        return self.rejection is None and self.audible_share == 0


@dataclass(frozen=True, slots=True)
class Listing:
    """What an adapter found: the recordings, the files that it skipped, and remarks to print."""

    recordings: tuple[Recording, ...]
    skipped: tuple[Rejection, ...] = ()
    remarks: tuple[str, ...] = ()  # a line each, such as which labels were normalised
