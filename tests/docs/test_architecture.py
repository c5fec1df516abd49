"""The map in docs/architecture.md agrees with the tree, and imports follow its order.

Each line of the map is a layer: a package and modules of it. To write the map anew after modules
were added, moved or renamed, run ``python -m tests.docs.test_architecture`` and paste the output.
"""

import ast
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.processes import ROOT

PACKAGES = ("dem", "beam_features", "trainer", "tuning", "similarity")


@dataclass(frozen=True)
class Layer:
    """A line of the map: modules of one package that may import from this line and those above."""

    package: str  # with dots
    modules: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.package.replace('.', '/') + '/':28}{' '.join(self.modules)}".rstrip()


def documented_layers() -> list[Layer]:
    """Parse the first code block of the page."""
    (block,) = re.findall(
        r"^```map\n(.*?)^```$", (ROOT / "docs" / "architecture.md").read_text(), re.M | re.S
    )
    words = [line.split() for line in block.splitlines()]
    return [Layer(package.strip("/").replace("/", "."), tuple(rest)) for package, *rest in words]


def tree() -> dict[str, set[str]]:
    """Find the modules of every package of the project, except ``__init__``."""
    folders = [init.parent for name in PACKAGES for init in (ROOT / name).rglob("__init__.py")]
    return {
        ".".join(folder.relative_to(ROOT).parts): {
            path.stem for path in folder.glob("*.py") if path.stem != "__init__"
        }
        for folder in folders
    }


def position(layers: Sequence[Layer], name: str) -> int | None:
    """Find the line of a module, a package or a name that is imported from either."""
    for index, layer in enumerate(layers):
        if any(f"{name}.".startswith(f"{layer.package}.{module}.") for module in layer.modules):
            return index
    for index, layer in enumerate(layers):
        if layer.package == name:
            return index
    return position(layers, name.rpartition(".")[0]) if "." in name else None


def imported(path: Path) -> Iterator[str]:
    """Full names in all import statements of the project's packages."""
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name for name in names if name.partition(".")[0] in PACKAGES)


def upward_imports(layers: Sequence[Layer]) -> list[str]:
    """List the imports that lead to a later line of the map."""
    return [
        f"{layer.package}.{module} imports {name}"
        for index, layer in enumerate(layers)
        for module in (*layer.modules, "__init__")
        for name in imported(path_of(layer.package, module))
        if (position(layers, name) or 0) > index
    ]


def expected_layers(layers: Sequence[Layer], found: dict[str, set[str]]) -> list[Layer]:
    """Bring the layers up to date and keep their order.

    New packages come right after the last line that they import from. New modules join the first
    line of their package that may import what they import.
    """
    listed = {f"{layer.package}.{module}" for layer in layers for module in layer.modules}
    new = [
        Layer(layer.package, tuple(m for m in layer.modules if m in found.get(layer.package, ())))
        for layer in layers
    ]
    for package in sorted(found.keys() - {layer.package for layer in layers}):
        below = [lowest_line(new, package, module) for module in found[package]]
        new.insert(max(below, default=-1) + 1, Layer(package, ()))
    for package, modules in found.items():
        for module in sorted(modules):
            if f"{package}.{module}" not in listed:
                lines = [index for index, layer in enumerate(new) if layer.package == package]
                lowest = lowest_line(new, package, module)
                at = next((index for index in lines if index >= lowest), lines[-1])
                new[at] = Layer(package, (*new[at].modules, module))
    return [Layer(layer.package, tuple(sorted(layer.modules))) for layer in new if layer.modules]


def lowest_line(layers: Sequence[Layer], package: str, module: str) -> int:
    """Find the last line of another package that a module imports from; -1 if there is none."""
    lines = {position(layers, name) or 0 for name in imported(path_of(package, module))}
    return max((line for line in lines if layers[line].package != package), default=-1)


def path_of(package: str, module: str) -> Path:
    return ROOT / package.replace(".", "/") / f"{module}.py"


def stems(name: str) -> frozenset[str]:
    """The words of a module's name without endings: ``runners`` and ``run`` have one stem."""
    return frozenset(
        re.sub(r"([b-df-hj-np-tv-z])\1$", r"\1", re.sub(r"(?<=..)(ings?|ers?|ed|es?|s)$", "", word))
        for word in name.split("_")
    )


def alike(one: str, other: str) -> bool:
    """Whether two names differ only by a suffix or by an added word."""
    shorter, longer = sorted((one.replace("_", ""), other.replace("_", "")), key=len)
    nested = stems(one) <= stems(other) or stems(other) <= stems(one)
    return nested or longer.startswith(shorter)


def neighbours(found: dict[str, set[str]]) -> Iterator[tuple[str, set[str]]]:
    """Modules and sub-packages that lie side by side, by package."""
    for package, modules in found.items():
        below = {
            name.removeprefix(f"{package}.") for name in found if name.startswith(f"{package}.")
        }
        yield package, modules - {"__main__"} | {name for name in below if "." not in name}


def test_the_map_agrees_with_the_tree() -> None:
    layers = documented_layers()
    assert [str(layer) for layer in layers] == [
        str(layer) for layer in expected_layers(layers, tree())
    ]


def test_imports_lead_to_the_same_line_of_the_map_or_one_above() -> None:
    assert upward_imports(documented_layers()) == []


def test_no_name_differs_from_a_neighbours_by_a_suffix_only() -> None:
    assert [
        f"{package}: {one}, {other}"
        for package, names in neighbours(tree())
        for one, other in itertools.combinations(sorted(names), 2)
        if alike(one, other)
    ] == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("run", "runners"),
        ("train", "training"),
        ("heads", "logistic_head"),
        ("report", "report_page"),
        ("embed", "embedding"),
        ("crossval", "cross_validation"),
        ("labelling", "labeller"),
    ],
)
def test_these_names_are_alike(one: str, other: str) -> None:
    assert alike(one, other)
    assert alike(other, one)


@pytest.mark.parametrize(("one", "other"), [("dense_head", "logistic_head"), ("page", "run")])
def test_these_are_not(one: str, other: str) -> None:
    assert not alike(one, other)


if __name__ == "__main__":
    print(*expected_layers(documented_layers(), tree()), sep="\n")
