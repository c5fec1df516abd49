"""Every page: links lead somewhere, prose is wrapped, and the index lists it."""

import re
from pathlib import Path

import pytest

from tests.processes import ROOT

DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])
WIDTH = 100


def prose(page: Path) -> str:
    """The text without code blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The names that headings have in links, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}


def broken_links(page: Path) -> list[str]:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name) if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_of_the_project_exist(page: Path) -> None:
    """Paths in backticks, such as ``tests/docs/test_pages.py``."""
    folders = "benchmarks|beam_features|configs|dem|docs|k8s|tests|trainer|tuning"
    paths = re.findall(rf"`((?:{folders})/[\w/.]+)`", prose(page))
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_prose_is_wrapped(page: Path) -> None:
    """Longer lines: tables, code blocks, and a word that is itself too long."""
    assert [
        line
        for line in prose(page).splitlines()
        if len(line) > WIDTH and not line.startswith("|") and len(line.split()) > 2
    ] == []


def test_the_index_lists_every_page() -> None:
    links = set(re.findall(r"\]\(([^)#\s]+)", (DOCS / "index.md").read_text()))
    listed = {(DOCS / link).resolve() for link in links if not link.startswith("http")}
    assert {page for page in DOCS.rglob("*.md") if page.name != "index.md"} <= listed
