"""Read a Dockerfile: its stages, and their instructions with arguments put in."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

_VARIABLE = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True)
class Instruction:
    """Such as ``COPY`` and all that follows it, on one line."""

    keyword: str
    value: str

    @property
    def words(self) -> list[str]:
        """The value's words without flags such as ``--from=build``."""
        return [word for word in self.value.split() if not word.startswith("--")]

    def flag(self, name: str) -> str | None:
        """Value of a flag in front; None without it."""
        found = re.search(rf"(?:^|\s)--{name}=(\S+)", self.value)
        return found[1] if found else None


@dataclass
class Stage:
    """What begins with ``FROM parent AS name``."""

    name: str
    parent: str
    instructions: list[Instruction] = field(default_factory=list)

    def values(self, keyword: str) -> list[str]:
        """Values of all instructions of this kind."""
        return [each.value for each in self.instructions if each.keyword == keyword]


@dataclass(frozen=True)
class Dockerfile:
    """Stages by name, and defaults of the arguments in front of the first."""

    arguments: Mapping[str, str]
    stages: Mapping[str, Stage]

    def lineage(self, name: str) -> list[Stage]:
        """Return a stage and those that it is made from, the oldest first."""
        stage = self.stages.get(name)
        return [*self.lineage(stage.parent), stage] if stage else []

    def value(self, target: str, keyword: str) -> str | None:
        """What the last such instruction of a target says, also if an older stage has it."""
        values = [value for stage in self.lineage(target) for value in stage.values(keyword)]
        return values[-1] if values else None

    def environment(self, target: str) -> dict[str, str]:
        """Return all that the target's ``ENV`` instructions set."""
        lines = [value for stage in self.lineage(target) for value in stage.values("ENV")]
        return dict(word.partition("=")[::2] for line in lines for word in line.split())


def parse_dockerfile(text: str) -> Dockerfile:
    """Parse it; arguments in front of the first stage are put into the names of images."""
    arguments: dict[str, str] = {}
    stages: dict[str, Stage] = {}
    stage: Stage | None = None
    for instruction in _instructions(text):
        if instruction.keyword == "FROM":
            image, _, name = instruction.words
            parent = _VARIABLE.sub(lambda found: arguments[found[1]], image)
            stage = stages[name] = Stage(name, parent)
        elif stage:
            stage.instructions.append(instruction)
        else:
            assert instruction.keyword == "ARG", f"{instruction} before the first stage"
            name, _, value = instruction.value.partition("=")
            arguments[name] = value
    return Dockerfile(arguments, stages)


def _instructions(text: str) -> Iterator[Instruction]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        keyword, _, value = line.strip().partition(" ")
        if keyword:
            yield Instruction(keyword, " ".join(value.split()))
