"""The page, in a browser, by keyboard alone."""

import copy
import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from likra import Likra
from likra.data import Question
from likra.scoring.budget import Automated, Automation
from likra.scoring.estimate import Estimate
from likra.serve import Models, create_app
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

    def __init__(self, browser: Any, address: str, width: int = 1200, view: str = "Decisions", **options: Any) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 800}, **options)
        self.page.set_default_timeout(1000 * PATIENCE)
        self.requests: list[str] = []
        self.sent: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("request", lambda request: request.post_data and self.sent.append(request.post_data))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(address)
        self.page.wait_for_selector("#about:not(:empty)")  # functions cannot be polled under the page's own policy
        if view == "Candidates":
            self.go_to("Decisions")
            self.page.keyboard.press("ArrowRight")
            assert self.page.is_visible("#candidates") and not self.page.is_visible("#decisions")

    def go_to(self, name: str) -> None:
        """Press Tab until what bears this name, or has it as its id, has the focus."""
        for _ in range(60):
            self.page.keyboard.press("Tab")
            if name in self.page.evaluate(
                "[document.activeElement].flatMap(at => [`#${at.id}`, at.ariaLabel ?? "
                "(at.labels?.[0] ?? at).innerText.replace(/\\s+/g, ' ').trim()])"
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

    def write(self, name: str, text: str) -> None:
        """Replace what a field holds."""
        self.go_to(name)
        self.page.keyboard.press("Control+A")
        self.page.keyboard.insert_text(text)

    def decide(self) -> None:
        self.go_to("Ask")
        self.page.keyboard.press("Enter")
        self.page.wait_for_selector("#answers > *")

    def answers(self) -> dict[str, dict[str, float]]:
        """What is shown of each question: its options with their numbers."""
        found = {}
        for card in self.page.locator("#answers > *").all():
            names = card.locator(".option > :first-child > :first-child").all_inner_texts()
            numbers = card.locator(".option .number").all_inner_texts()
            found[card.locator("h3").inner_text()] = dict(zip(names, map(float, numbers), strict=True))
        return found

    def widths_of_answers(self) -> list[float]:
        return [bar.bounding_box()["width"] for bar in self.page.locator("#answers .track i").all()]

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
    visitor = Visitor(browser, address, view="Candidates")
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
    visitor = Visitor(browser, address, width, "Candidates")
    visitor.ask(Question("long", "Which " + "very" * 40 + " long?", ("a" * 150, "b c " * 60)))
    assert visitor.page.evaluate("document.documentElement.scrollWidth") == width


def test_candidates_come_and_go_and_the_focus_stays_with_them(browser: Any, address: str) -> None:
    visitor = Visitor(browser, address, view="Candidates")
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
    visitor = Visitor(browser, address, view="Candidates")
    visitor.go_to("Score")
    visitor.page.keyboard.press("Enter")
    assert visitor.page.inner_text("#candidates-alert") == "Give at least one candidate."
    assert visitor.page.evaluate("document.activeElement.id") == "candidate-1"
    visitor.page.keyboard.insert_text("olives " * 3000)
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_selector("#candidates-alert:has-text('characters')")


def give_the_key(visitor: Visitor, alert: str, answer: str) -> None:
    """Type the key where the page asks for it, which then goes on."""
    visitor.page.wait_for_selector("#key:focus")
    assert "key" in visitor.page.inner_text(alert)
    visitor.page.keyboard.type("secret-7")
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_selector(answer)
    assert visitor.page.inner_text(alert) == ""


def test_the_key_is_asked_for(browser: Any, likra: Likra, world: list[Question]) -> None:
    with listening(create_app({"world-heads": likra}, key="secret-7")) as address:
        visitor = Visitor(browser, address, view="Candidates")
        visitor.go_to("Candidate 1")
        visitor.page.keyboard.type("word")
        visitor.page.keyboard.press("Enter")
        give_the_key(visitor, "#candidates-alert", "#list li")
        assert not visitor.page.is_visible("#confidence")  # these heads are not calibrated
        visitor.page.close()


STATE = "Mira Voss wrote again. She plays the cello."
TEAMS = {"10": "Charges, refunds", "2": None, "at 8:30": "The early team"}
QUESTIONS: dict[str, Any] = {
    "music": {"type": "noul", "instructions": "Is this about music?"},
    "team": {"type": "choice", "instructions": "Which team?", "criteria": TEAMS},
    "urgency": {"type": "score", "instructions": "How urgent?", "criteria": ["can wait", "this week", "today"]},
}
#: Four answers, the surest first, and whether they are right; and their curve.
KNOWN = ((0.9, True), (0.7, False), (0.30009, True), (0.2, True))
POINTS = ((0.9, 0.25, 0.0), (0.7, 0.5, 0.5), (0.30009, 0.75, 1 / 3), (0.2, 1.0, 0.25))


def write_questions(write: Callable[[str, str], None]) -> None:
    write("#state", STATE)
    for place, (name, question) in enumerate(QUESTIONS.items(), start=1):
        write(f"#asked-name-{place}", name)
        write(f"#asked-instructions-{place}", question["instructions"])
        if name == "team":
            write(f"#asked-criteria-{place}", "10: Charges, refunds\n2\n\nat 8:30: The early team")
        elif name == "urgency":
            write(f"#asked-criteria-{place}", "\n".join(question["criteria"]))


def test_answers_are_those_of_the_api(browser: Any, address: str) -> None:
    visitor = Visitor(browser, address)
    write_questions(visitor.write)
    visitor.decide()
    assert json.loads(visitor.sent[-1]) == {"state": STATE, "questions": QUESTIONS}
    said = httpx.post(f"{address}/v1/systemone", json={"state": STATE, "questions": QUESTIONS}).json()["answers"]
    music, team, urgency = (said[name] for name in QUESTIONS)
    levels = {f"{level}: {urgency['legend'][level]}": found for level, found in urgency["probabilities"].items()}
    shown = visitor.answers()
    assert shown["music"] == pytest.approx({"yes": music["noul"], "no": 1 - music["noul"]}, abs=0.0006)
    assert shown["team"] == pytest.approx(team["probabilities"], abs=0.0006)
    assert list(shown["team"]) == ["10", "2", "at 8:30"]
    assert shown["urgency"] == pytest.approx(levels, abs=0.0006)
    cards = visitor.page.locator("#answers > *")
    assert team["choice"] + "\nbest" in cards.nth(1).inner_text()
    assert f"confidence {team['confidence']:.3f}" in cards.nth(1).inner_text()
    assert f"score {urgency['score']:.2f} of 0 to 2" in cards.nth(2).inner_text()
    # Bars are as long as their numbers say.
    tracks, bars = (cards.nth(1).locator(kind) for kind in (".track", ".track i"))
    widths = [bars.nth(one).bounding_box()["width"] / tracks.nth(one).bounding_box()["width"] for one in range(3)]
    assert widths == pytest.approx(list(shown["team"].values()), abs=0.002)
    assert "Calibrated" in visitor.page.inner_text("#probable")
    assert all(url.startswith((address, "data:")) for url in visitor.requests)
    assert visitor.complaints == []


def test_a_state_in_json_is_sent_as_it_is(browser: Any, address: str) -> None:
    visitor = Visitor(browser, address)
    visitor.write("#state", '{"2": 12345678901234567890, "1": "cello"}')
    assert visitor.page.inner_text("#state-kind") == "sent as JSON"
    visitor.decide()
    assert '"state": {"2": 12345678901234567890, "1": "cello"}' in visitor.sent[-1]
    visitor.page.fill("#state", '{"half": ')
    assert "sent as text" in visitor.page.inner_text("#state-kind")
    assert visitor.page.is_visible("#changed")  # the answers are not those of what the fields hold now


def test_shuffled_options_change_nothing(browser: Any, address: str) -> None:
    visitor = Visitor(browser, address)
    write_questions(visitor.page.fill)
    visitor.decide()
    before, widths = visitor.answers(), visitor.widths_of_answers()
    visitor.go_to("Shuffle options")
    for _ in range(3):
        visitor.page.keyboard.press("Enter")
        visitor.page.wait_for_selector("#shuffled:has-text('Largest change: 0.000.')")
        assert json.loads(visitor.sent[-1]) == json.loads(visitor.sent[0])
        other = dict(json.loads(visitor.sent[-1], object_pairs_hook=list))
        questions = {name: dict(fields) for name, fields in other["questions"]}
        assert list(questions) != list(QUESTIONS)
        assert [name for name, _ in questions["team"]["criteria"]] != list(TEAMS)
        assert questions["urgency"]["criteria"] == QUESTIONS["urgency"]["criteria"]
        assert visitor.answers() == before and list(visitor.answers()["team"]) == list(TEAMS)
        assert visitor.widths_of_answers() == pytest.approx(widths, abs=0.1)
    assert visitor.complaints == []

    # Were something to move, it would be told.
    def moved(route: Any) -> None:
        headers = {"content-type": "application/json"}
        sent = httpx.post(f"{address}/v1/systemone", content=route.request.post_data, headers=headers, timeout=PATIENCE)
        said = sent.json()
        said["answers"]["team"]["probabilities"]["2"] += 0.25
        route.fulfill(json=said)

    visitor.page.route("**/v1/systemone", moved)
    visitor.page.click("#shuffle")  # once it can be pressed again
    visitor.page.wait_for_selector("#shuffled:has-text('Largest change: 0.250.')")


@pytest.fixture(scope="module")
def budgeted(calibrated: Likra) -> Iterator[str]:
    """The address of heads that were calibrated on `KNOWN`, with an error budget."""
    assert calibrated.calibration
    half = Automated(0.30009, Estimate(0.75, 0.2, 0.9, 4), Estimate(1 / 3, 0.0, 0.9, 3), 3.0)
    record = dataclasses.replace(
        calibrated.calibration, risk_coverage=POINTS, questions=4, automation=Automation(0.4, 4, half, None)
    )
    known = copy.copy(calibrated)
    known.calibration = record
    with listening(create_app({"known": known})) as found:
        yield found


def test_the_threshold_says_what_is_automatic_and_where_it_stands_on_the_curve(browser: Any, budgeted: str) -> None:
    visitor = Visitor(browser, budgeted)

    def check(threshold: float) -> None:
        """The slider's sentence, the point on the curve and the marks at a threshold, counted by hand."""
        given = [right for sure, right in KNOWN if sure >= threshold]
        coverage, wrong = len(given) / 4, given.count(False)
        assert visitor.page.inner_text("#threshold-shown") == f"{threshold:.3f}"
        said = visitor.page.inner_text("#at-threshold")
        assert visitor.page.locator("#curve circle").count() == (coverage > 0)
        if coverage:
            risk = wrong / len(given)
            assert f"{coverage:.1%} ({len(given)}) are answered" in said
            assert f"{risk:.1%} ({wrong}) are wrong" in said
            # The curve runs from its first point to its last; the circle is between them by coverage.
            line, point = (visitor.page.locator(f"#curve {kind}").bounding_box() for kind in (".curve", "circle"))
            across = (point["x"] + point["width"] / 2 - line["x"]) / line["width"]
            assert across == pytest.approx((coverage - 0.25) / 0.75, abs=0.02)
            up = 1 - (point["y"] + point["height"] / 2 - line["y"]) / line["height"]
            assert up == pytest.approx(risk / 0.5, abs=0.02)
        else:
            assert said.startswith("None of the 4")
        for name, options in visitor.answers().items():
            mark = visitor.page.locator("#answers > *", has=visitor.page.locator(f"h3:text-is('{name}')")).locator(
                ".split .tag"
            )
            assert mark.inner_text() == ("automatic" if max(options.values()) >= threshold else "for a person")

    check(0.30009)  # the budget's own, which lies between the slider's steps
    write_questions(visitor.page.fill)
    visitor.decide()
    before = len(visitor.requests)
    check(0.30009)
    visitor.go_to("Automatic from a probability of")
    visitor.page.keyboard.press("ArrowRight")
    check(0.31)
    visitor.page.keyboard.press("ArrowLeft")
    check(0.30009)
    for threshold in (0.1, 0.2, 0.5, 0.8):
        visitor.page.fill("#threshold", str(threshold))
        check(threshold)
    visitor.page.locator("#threshold").focus()
    visitor.page.keyboard.press("End")
    check(1.0)
    assert "40.0%" in visitor.page.inner_text("#budget")
    assert len(visitor.requests) == before and visitor.complaints == []


def test_what_the_server_refuses_is_said_beside_what_it_names(browser: Any, address: str) -> None:
    visitor = Visitor(browser, address)

    def said() -> list[str]:
        return visitor.page.locator("#decisions .error").all_inner_texts()

    visitor.write("#asked-criteria-2", "alone")
    visitor.go_to("Ask")
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_selector("#question-error-2:has-text('1 option')")
    assert [bool(line) for line in said()] == [False, False, True, False, False]  # of the state, three questions, all
    assert visitor.page.evaluate("document.activeElement.id") == "asked-criteria-2"
    visitor.page.keyboard.insert_text("\nweb\nweb")  # kept apart until the server says what is wrong
    visitor.page.click("#decide")
    visitor.page.wait_for_selector("#question-error-2:has-text('twice')")
    visitor.page.fill("#asked-criteria-2", "web\nother")
    visitor.page.fill("#state", "olives " * 3000)
    visitor.page.click("#decide")
    visitor.page.wait_for_selector("#state-error:has-text('characters')")
    visitor.page.fill("#state", "olives " * 1500)
    visitor.page.click("#decide")
    visitor.page.wait_for_selector("#state-error:has-text('tokens')")  # too many for the model
    assert [bool(line) for line in said()] == [True, False, False, False, False]
    visitor.page.fill("#state", "olives")
    visitor.page.fill("#asked-name-1", "urgency")
    visitor.page.click("#decide")
    visitor.page.wait_for_selector("#decisions-alert:has-text('twice')")
    visitor.page.fill("#asked-name-1", "billing")
    visitor.page.click("#decide")
    visitor.page.wait_for_selector("#answers > *")
    assert not any(said()) and visitor.page.locator("[aria-invalid]").count() == 0


def test_questions_come_and_go_and_the_focus_stays_with_them(browser: Any, address: str) -> None:
    visitor = Visitor(browser, address)
    visitor.go_to("Add a question")
    visitor.page.keyboard.press("Enter")
    assert visitor.page.evaluate("document.activeElement.id") == "asked-name-4"
    visitor.write("#asked-name-4", "fourth")
    visitor.go_to("#asked-type-4")
    visitor.page.keyboard.press("n")  # the type that begins with it
    visitor.write("#asked-instructions-4", "Is this the fourth?")
    visitor.go_to("Remove question 2")
    visitor.page.keyboard.press("Enter")
    assert visitor.page.evaluate("document.activeElement.value") == "urgency"
    visitor.decide()
    sent = json.loads(visitor.sent[-1])["questions"]
    assert list(sent) == ["billing", "urgency", "fourth"] == list(visitor.answers())
    assert sent["fourth"] == {"type": "noul", "instructions": "Is this the fourth?"}


def test_decisions_fit_a_phone(browser: Any, budgeted: str) -> None:
    visitor = Visitor(browser, budgeted, width=360)
    visitor.page.fill("#asked-name-2", "n" * 80)
    visitor.page.fill("#asked-criteria-2", "a" * 150 + "\n" + "b c " * 60)
    visitor.page.click("#decide")
    visitor.page.wait_for_selector("#answers > *")
    assert visitor.page.evaluate("document.documentElement.scrollWidth") == 360


def test_colours_follow_the_system(browser: Any, address: str) -> None:
    colours = {}
    for scheme in ("light", "dark"):
        visitor = Visitor(browser, address, color_scheme=scheme)
        colours[scheme] = [
            sum(map(int, visitor.page.evaluate(f"getComputedStyle({of}).{what}").strip("rgb()").split(",")))
            for of, what in (("document.body", "backgroundColor"), ("document.body", "color"))
        ]
        visitor.page.close()
    (light_page, light_ink), (dark_page, dark_ink) = colours["light"], colours["dark"]
    assert light_page > 600 > 200 > light_ink and dark_page < 200 < 600 < dark_ink


def test_a_key_is_asked_for_and_what_is_not_calibrated_is_called_so(browser: Any, likra: Likra) -> None:
    with listening(create_app({"world-heads": likra}, key="secret-7")) as address:
        visitor = Visitor(browser, address)
        visitor.go_to("Ask")
        visitor.page.keyboard.press("Enter")
        give_the_key(visitor, "#decisions-alert", "#answers > *")
        assert "Not calibrated" in visitor.page.inner_text("#probable")
        assert visitor.page.locator("#answers > *", has_text="not calibrated").count() == 3
        assert not visitor.page.is_visible("#threshold") and visitor.page.locator("#answers .split .tag").count() == 0
        assert "likra calibrate" in visitor.page.inner_text("#no-threshold")
        visitor.page.close()


def test_one_of_several_models_is_chosen(browser: Any, heads: Path) -> None:
    models = Models()
    for name in ("first", "second"):
        models.add(name, Likra.from_pretrained(heads, model=models.base() or None))
    record = models["first"].calibration
    assert record
    models["first"].calibration = dataclasses.replace(record, risk_coverage=())  # as in older folders
    with listening(create_app(models)) as address:
        visitor = Visitor(browser, address)
        assert "again" in visitor.page.inner_text("#no-threshold") and not visitor.page.is_visible("#threshold")
        visitor.go_to("Model")
        visitor.page.keyboard.press("s")
        visitor.page.wait_for_selector("#about:has-text('second')")
        assert visitor.page.is_visible("#threshold")
        visitor.decide()
        assert json.loads(visitor.sent[-1])["model"] == "second"
        visitor.page.close()
