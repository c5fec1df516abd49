"""The map in a real browser: points are there, a search narrows them, a click plays."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from dem.__main__ import main
from tests.similarity.libraries import MadeUp, direction, write_vectors

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on the path"),
]

SONGS = {"low/hum.ogg": 110.0, "low/buzz.ogg": 165.0, "high/whistle #1.ogg": 1320.0}


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> Path:
    """An index of three songs whose files lie beside it."""
    folder = tmp_path_factory.mktemp("map")
    for name, hz in SONGS.items():
        path = folder / "music" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = 0.3 * np.sin(2 * np.pi * hz * np.arange(48_000) / 16_000)
        soundfile.write(path, samples, 16_000)
    made = [
        MadeUp(name, direction(angle), seconds=3.0, columns={"label": name.partition("/")[0]})
        for angle, name in enumerate(SONGS)
    ]
    vectors = write_vectors(folder / "vectors", made, root=str(folder / "music"))
    assert main(["index", str(vectors), "--output", str(folder / "INDEX")]) == 0
    return folder / "INDEX"


@pytest.fixture(scope="module", params=[[], ["--play", "2"]], ids=["links", "embedded"])
def page(request, index) -> Iterator[Any]:
    """The map in a browser without network, and what its console said."""
    file = index.parent / "map.html"
    words = ["map", "--index", str(index), "--output", str(file), *request.param]
    assert main(words) == 0
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"],
        )
        tab = browser.new_page(viewport={"width": 1200, "height": 700}, offline=True)
        tab.errors = []
        tab.on("pageerror", lambda error: tab.errors.append(str(error)))
        tab.on("console", lambda line: line.type == "error" and tab.errors.append(line.text))
        tab.goto(file.as_uri())
        tab.wait_for_function("document.querySelectorAll('#songs option').length === 3")
        yield tab
        browser.close()


def visible(page: Any) -> list[bool]:
    """Which points are drawn fully."""
    alphas = page.evaluate("Array.from(Bokeh.documents[0].get_model_by_name('songs').data.alpha)")
    return [alpha > 0.5 for alpha in alphas]


def test_points_and_list(page):
    assert visible(page) == [True] * 3
    assert page.locator("#songs option").all_inner_texts() == [
        *("whistle #1 0:03", "buzz 0:03", "hum 0:03")
    ]
    assert page.errors == []


def test_a_search_narrows_points_and_list(page):
    page.fill("#search", "low")
    assert visible(page) == [False, True, True]
    assert page.inner_text("#count") == "2 of 3 songs"
    page.keyboard.press("Escape")
    assert visible(page) == [True] * 3


def test_a_click_on_a_point_plays_it(page):
    page.evaluate("document.getElementById('player').pause()")
    place = page.evaluate(
        """() => {
          const view = Object.values(Bokeh.index.roots ?? Bokeh.index)[0];
          const frame = view.frame ?? view.child_views[0].frame;
          const data = Bokeh.documents[0].get_model_by_name('songs').data;
          const box = view.el.getBoundingClientRect();
          const x = frame.x_scale.compute(data.x[0]), y = frame.y_scale.compute(data.y[0]);
          return [box.x + x, box.y + y];
        }"""
    )
    page.mouse.click(*place)
    page.wait_for_function("document.getElementById('player').currentTime > 0.1", timeout=15_000)
    assert page.inner_text("#chosen") == "whistle #1"
    assert len(page.locator("#near li").all()) == 2
    assert page.errors == []


def test_the_keyboard_is_enough(page):
    page.keyboard.press("/")
    page.keyboard.type("hum")
    page.keyboard.press("Enter")
    page.wait_for_function(
        "document.getElementById('player').currentTime > 0.1 && songMap.chosen() === 2",
        timeout=15_000,
    )
    assert page.inner_text("#chosen") == "hum"
    page.keyboard.press("Escape")
    assert page.evaluate("document.getElementById('player').paused")


def test_colours_change(page):
    before = page.evaluate("Array.from(Bokeh.documents[0].get_model_by_name('songs').data.colour)")
    page.select_option("#colour", "cluster")
    after = page.evaluate("Array.from(Bokeh.documents[0].get_model_by_name('songs').data.colour)")
    assert len(before) == len(after) == 3
    assert all("cluster" in text for text in page.locator("#legend li").all_inner_texts())
    assert page.errors == []
