"""The page, in a browser, by keyboard alone."""

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from likra import Likra
from likra.data import Question
from likra.serve import create_app
from tests.conftest import PATIENCE
from tests.serve.conftest import listening

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("no Chromium is installed")
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    with playwright.sync_playwright() as tools:
        found = tools.chromium.launch(
            executable_path=path, args=["--no-sandbox"] if root else [], timeout=1000 * PATIENCE
        )
        yield found
        found.close()


@pytest.fixture(scope="module")
def address(calibrated: Likra) -> Iterator[str]:
    with listening(create_app({"world-heads": calibrated})) as found:
        yield found


class Visitor:
    """Somebody at the keyboard of a page, who notes what it asks for and what it complains of."""

    def __init__(self, browser: Any, address: str, width: int = 1200) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 800})
        self.page.set_default_timeout(1000 * PATIENCE)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(address)
        self.page.wait_for_selector("#about:not(:empty)")  # functions cannot be polled under the page's own policy

    def go_to(self, name: str) -> None:
        """Press Tab until what bears this name has the focus."""
        for _ in range(40):
            self.page.keyboard.press("Tab")
            if self.page.locator(":focus").count() and name == self.page.evaluate(
                "(document.activeElement.labels?.[0] ?? document.activeElement).innerText"
                ".replace(/\\s+/g, ' ').trim() || document.activeElement.ariaLabel"
            ):
                return
        raise AssertionError(f"{name} cannot be reached by Tab")

    def ask(self, question: Question) -> None:
        write = self.page.keyboard.type if len(question.text) < 100 else self.page.keyboard.insert_text  # which is fast
        self.go_to("Question")
        write(question.text)
        for number, choice in enumerate(question.choices, start=1):
            if number > 3:
                self.go_to("Add a candidate")
                self.page.keyboard.press("Enter")  # which takes the focus to the new field
            else:
                self.go_to(f"Candidate {number}")
            write(choice)
        self.page.keyboard.press("Enter")
        self.page.wait_for_selector("#list li")

    def ranking(self) -> list[str]:
        return [name.split(". ", 1)[1] for name in self.page.locator("#list li .name > b").all_inner_texts()]

    def numbers(self, kind: str) -> list[float]:
        shown = self.page.locator(f"#list .{kind} > :last-child").all_inner_texts()
        return [float(text.replace("\u2212", "-")) for text in shown]

    def widths(self, kind: str) -> list[float]:
        bars = self.page.locator(f"#list .{kind} i")
        return [bars.nth(place).bounding_box()["width"] for place in range(bars.count())]


def test_bars_and_ranking_follow_the_slider_without_a_request(
    browser: Any, address: str, calibrated: Likra, world: list[Question]
) -> None:
    def order(question: Question, weight: float) -> list[str]:
        found = calibrated.score(question.text, question.choices)
        return [c.text for c in sorted(found, key=lambda c: -(c.positive - weight * (c.negative or 0)))]

    question = next(q for q in world if len(q.choices) == 4 and order(q, 0.0)[0] != order(q, 1.0)[0])
    known = {c.text: c for c in calibrated.score(question.text, question.choices)}
    visitor = Visitor(browser, address)
    visitor.ask(question)
    assert visitor.ranking() == order(question, 1.0)
    assert visitor.page.inner_text("#list li.best .tag") == "best"
    assert visitor.page.inner_text("#summary") == f"Best: “{order(question, 1.0)[0]}”."
    best = known[order(question, 1.0)[0]]
    assert best.probability is not None
    assert f"{best.probability:.1%} sure" in visitor.page.inner_text("#list li.best")
    assert visitor.numbers("ratio") == pytest.approx([known[text].score for text in visitor.ranking()], abs=0.006)
    assert visitor.requests[-1] == f"{address}/v1/score"
    before = len(visitor.requests)
    widths = {kind: visitor.widths(kind) for kind in ("L-positive", "L-negative", "ratio")}

    visitor.go_to("Weight w of the negative head")
    visitor.page.keyboard.press("ArrowLeft")
    assert visitor.page.inner_text("#weight-shown") == "0.95"
    negatives = [0.95 * (known[text].negative or 0) for text in visitor.ranking()]
    assert visitor.numbers("L-negative") == pytest.approx(negatives, abs=0.006)
    assert "sure" not in visitor.page.inner_text("#list")  # calibrated for the weight 1 alone
    visitor.page.keyboard.press("Home")
    assert visitor.ranking() == order(question, 0.0) != order(question, 1.0)
    assert visitor.page.inner_text("#summary") == f"Best: “{order(question, 0.0)[0]}”."
    assert visitor.numbers("ratio") == visitor.numbers("L-positive")
    assert visitor.widths("L-negative") == [0] * 4
    assert visitor.widths("ratio") != widths["ratio"]
    assert sorted(visitor.widths("L-positive")) == pytest.approx(sorted(widths["L-positive"]))
    # Bars are as long as their numbers say, on one scale.
    drawn = zip(visitor.widths("L-positive"), visitor.numbers("L-positive"), strict=True)
    per_nat = [width / -value for width, value in drawn]
    assert per_nat == pytest.approx([per_nat[0]] * 4, rel=0.02)
    for _ in range(20):
        visitor.page.keyboard.press("ArrowRight")
    assert visitor.page.inner_text("#weight-shown") == "1.00"
    assert visitor.ranking() == order(question, 1.0)
    assert {kind: visitor.widths(kind) for kind in widths} == widths

    visitor.go_to("Answer only when at least so sure")
    visitor.page.keyboard.press("End")
    assert "No answer" in visitor.page.inner_text("#summary")
    assert visitor.page.locator("#list .tag").count() == 0
    assert len(visitor.requests) == before
    assert all(url.startswith((address, "data:")) for url in visitor.requests)
    assert visitor.complaints == []


@pytest.mark.parametrize("width", [320, 375, 1200])
def test_nothing_is_wider_than_the_window(browser: Any, address: str, width: int) -> None:
    visitor = Visitor(browser, address, width)
    visitor.ask(Question("long", "Which " + "very" * 40 + " long?", ("a" * 150, "b c " * 60)))
    assert visitor.page.evaluate("document.documentElement.scrollWidth") == width


def test_candidates_come_and_go_and_the_focus_stays_with_them(browser: Any, address: str) -> None:
    visitor = Visitor(browser, address)
    keyboard = visitor.page.keyboard
    for number in (1, 2, 3):
        visitor.go_to(f"Candidate {number}")
        keyboard.type(f"word {number}")
    keyboard.press("Shift+Tab")  # to the button that removes the second
    keyboard.press("Enter")
    assert visitor.page.evaluate("document.activeElement.value") == "word 3"
    keyboard.press("Enter")
    visitor.page.wait_for_selector("#list li")
    assert sorted(visitor.ranking()) == ["word 1", "word 3"]


def test_what_is_refused_is_said(browser: Any, address: str) -> None:
    visitor = Visitor(browser, address)
    visitor.go_to("Score")
    visitor.page.keyboard.press("Enter")
    assert visitor.page.inner_text("#alert") == "Give at least one candidate."
    assert visitor.page.evaluate("document.activeElement.id") == "candidate-1"
    visitor.page.keyboard.insert_text("olives " * 3000)
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_selector("#alert:has-text('characters')")


def test_the_key_is_asked_for(browser: Any, likra: Likra, world: list[Question]) -> None:
    with listening(create_app({"world-heads": likra}, key="secret-7")) as address:
        visitor = Visitor(browser, address)
        visitor.go_to("Candidate 1")
        visitor.page.keyboard.type("word")
        visitor.page.keyboard.press("Enter")
        visitor.page.wait_for_selector("#key:focus")
        assert "key" in visitor.page.inner_text("#alert")
        visitor.page.keyboard.type("secret-7")
        visitor.page.keyboard.press("Enter")
        visitor.page.wait_for_selector("#list li")
        assert visitor.page.inner_text("#alert") == ""
        assert not visitor.page.is_visible("#confidence")  # these heads are not calibrated
        visitor.page.close()
