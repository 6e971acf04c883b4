"""A real Chromium, the distribution's own, driven by its path; where there is none, these tests are skipped and say so."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright


@dataclass
class Seen:
    """What a page did, apart from being shown."""

    console: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    @property
    def nothing(self) -> bool:
        return not (self.console or self.dialogs or self.requests)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no Chromium is installed; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        # Without its sandbox only because tests may run as root, where it refuses to start; the pages are ours.
        found = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[tuple[Page, Seen]]:
    """An empty page that notes what happens on it."""
    context = browser.new_context(viewport={"width": 1200, "height": 900}, offline=True)
    page, seen = context.new_page(), Seen()
    page.on("console", lambda message: seen.console.append(message.text))
    page.on("pageerror", lambda error: seen.console.append(str(error)))
    page.on("dialog", lambda dialog: (seen.dialogs.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: seen.requests.append(request.url))
    yield page, seen
    context.close()


def show(page: Page, seen: Seen, report: Path) -> None:
    """Load a report with every part of it open; its own address is no request of the page."""
    page.goto(report.as_uri())
    for details in page.locator("details").all():
        details.evaluate("found => { found.open = true }")
    seen.requests.remove(report.as_uri())
