"""The report of a real run in a real browser: hostile text is text, everybody can read it, and it fits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from pipelines.templates import demo
from tests import servers
from tests.application import Application
from tests.browser.conftest import Seen, show
from tests.command import ROOT, call, run
from tests.conftest import empty_database

SHOTS = ROOT / "reports" / "screenshots"
HOSTILE = (
    "<script>alert(1)</script>",
    "</td></style></title><img src=x onerror=alert(2)>",
    "\"' autofocus onfocus=alert(3) x='",
    "</summary><svg onload=alert(4)>",
    "{{ 7*7 }}{% raw %}${7*7}",
    "javascript:alert(5)",
    "<a href='javascript:alert(6)'>x</a>",
    "]]><!--<iframe src=//example.invalid>",
    "body{background:url(//example.invalid)}",
)
WIDTHS = {"desktop": 1200, "phone": 390}

pytestmark = pytest.mark.parametrize("server", [servers.NEWEST], indirect=True, ids=servers.name)


@pytest.fixture(scope="module")
def hostile(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """The reports of a run that stops, over rows that carry hostile text wherever they can: the page of the run, and the
    one with the texts shown."""
    with empty_database(server) as url, Application(url) as application:
        application.execute(demo.SCHEMA.read_text(encoding="utf-8"))
        business = fill(application)
        folder = tmp_path_factory.mktemp("reports")
        answer = run(url, folder / "run", "--default-business", business)
        assert answer.code == 4, answer.err
        options = ("--json", "--show-content", "--report-dir", str(folder / "texts"))
        shown = call("report", *options, DATABASE_URL=url)
        assert shown.code == 0, shown.err
        yield Path(answer.json["report"]), Path(shown.json["report"])


def fill(application: Application) -> str:
    """A business, an old row, a taken place and a reference to nothing for each text. Returns one of the businesses."""
    for number, text in enumerate(HOSTILE, 1):
        business = application.business(number)
        application.execute(
            "UPDATE businesses SET business_name = %s WHERE business_id = %s", (f"{number} {text}", business)
        )
        application.template(text, f"{text} {{name}}", template_name=text, template_type=f"{text}"[:50])
        application.stage(number, business, text, f"nowhere {text}"[:255])
        taken = f"00000000-0000-4000-8000-{number:012d}"
        application.template(taken, text)
        application.execute(
            "INSERT INTO templates (template_id, business_id, template_name, template_type, content)"
            " VALUES (%s, %s, %s, 't', %s)",
            (taken, business, text, f"other {text}"),
        )
    return business


def test_hostile_text_is_shown_as_it_is_and_does_nothing(hostile: tuple[Path, Path], page: tuple[Page, Seen]) -> None:
    for report in hostile:
        show(*page, report)
        text = page[0].locator("body").inner_text()
        for found in HOSTILE:
            assert found in text, found
        page[0].wait_for_timeout(200)
        assert page[1].nothing, page[1]
    assert "other <script>alert(1)</script>" in text
    assert (
        page[0].locator("script, img, iframe, object, form, input, link, [onerror], [onload], [onfocus]").count() == 0
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_is_fit_for_everybody(hostile: tuple[Path, Path], browser: Browser, scheme: str, width: str) -> None:
    """The checks of axe with all parts open, no sideways scrolling, and pictures for people to look at."""
    size = {"width": WIDTHS[width], "height": 900}
    context = browser.new_context(viewport=size, color_scheme=scheme, offline=True)
    page, seen = context.new_page(), Seen()
    page.on("request", lambda request: seen.requests.append(request.url))
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.goto(hostile[1].as_uri())
    page.screenshot(path=SHOTS / f"{width}-{scheme}.png", full_page=True)
    show(page, seen, hostile[1])
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[width], "the page scrolls sideways"
    page.screenshot(path=SHOTS / f"{width}-{scheme}-open.png", full_page=True)
    context.close()


def test_a_reviewer_finds_the_four_answers_before_anything_else(
    hostile: tuple[Path, Path], page: tuple[Page, Seen]
) -> None:
    show(*page, hostile[0])
    for question in ("May I go on?", "What needs my decision?", "What changed?", "How do I go back?"):
        box = page[0].get_by_role("region", name=question).bounding_box()
        assert box is not None, question
        assert box["y"] + box["height"] <= 900, "it is seen without scrolling"
    page[0].get_by_role("link", name="Conflicts").first.click()
    assert page[0].locator("#conflicts").get_by_role("row").count() == len(HOSTILE) + 1
    assert page[1].nothing, page[1]
