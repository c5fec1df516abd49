"""Why a recording cannot be used."""


class RejectedRecording(Exception):  # noqa: N818 - an outcome that the job counts, not a fault of it
    """A recording that cannot be used: at which stage, a reason to count by, and the detail."""

    def __init__(self, stage: str, reason: str, detail: str) -> None:
        super().__init__(f"{stage}: {reason}: {detail}")
        self.stage, self.reason, self.detail = stage, reason, detail
