"""The report of a run: everything is escaped, nothing runs, nothing is loaded, and it stays in its folder."""

from __future__ import annotations

import csv
import json
import re
import stat
from dataclasses import asdict, replace
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from pipelines.table_move.errors import ReportNotWritten
from pipelines.table_move.pure.shown import shown
from pipelines.table_move.quality.charts import WIDTH, flow
from pipelines.table_move.quality.report import Facts, render, write_report
from pipelines.table_move.quality.spreadsheet import as_csv, safe
from pipelines.table_move.records import CheckRow
from pipelines.table_move.status import Counts, GateCounts, ReferenceCounts

HOSTILE = "</td></style><script>alert(1)</script><img src=x onerror=alert(2)>\"'><svg onload=alert(3)>{{7*7}}"


def facts(**more: Any) -> Facts:
    summary = {
        "move": "templates",
        "database": "demo",
        "run_id": 1,
        "state": "done",
        "phase": "confirm",
        **Counts(source_rows=7, fan_out_copies=2, inserted=9).as_dict(),
        "rows_written": 9,
        "references": asdict(ReferenceCounts(rewired=3)),
        "gate": asdict(GateCounts(passed=4)),
        "write_pause_ms": 12.0,
        "retired_schema": "pipelines_retired_1",
        "owners": [{"owner_id": "o", "owner": "Owner", "rule": "default", "rows": 9}],
        "not_carried": [{"column": "description", "rows": 5}],
        "timings": {"copy": 1.5},
        "settings": {"workers": 2},
        "error": None,
        "code_version": "1",
        **more,
    }
    check = CheckRow(
        phase="verify",
        suite="source",
        expectation="name_is_there",
        severity="warning",
        success=False,
        observed=None,
        unexpected_count=3,
        reason="A reason.",
        samples=[HOSTILE],
        error=HOSTILE,
        seconds=0.1,
    )
    return Facts(summary=summary, checks=[check])


class Elements(HTMLParser):
    """The elements and attributes that a browser would see."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes}
        self.links |= {value or "" for name, value in attributes if name == "href"}

    def handle_data(self, data: str) -> None:
        self.text += data


def test_hostile_text_is_shown_and_does_nothing() -> None:
    found = facts(
        owners=[{"owner_id": HOSTILE, "owner": HOSTILE, "rule": "default", "rows": 9}],
        error=HOSTILE,
        settings={HOSTILE: HOSTILE},
        database=HOSTILE,
    )
    page = render(found)
    seen = Elements(page)
    assert not seen.tags & {"script", "img", "iframe", "object", "link", "form"}
    assert not [name for name in seen.attributes if name.startswith("on") or name in ("src", "style")]
    assert all(re.fullmatch(r"#[a-z-]+|[a-z]+\.(csv|json)", link) for link in seen.links), seen.links
    assert seen.text.count(HOSTILE) >= 6
    assert "default-src 'none'" in page
    assert not re.search(r"https?://", page)


def test_a_balance_whose_check_has_failed_does_not_hold_although_the_sums_agree() -> None:
    one = facts()
    failed = replace(one.checks[0], suite="reconciliation", expectation="balance_holds", severity="critical")
    page = render(replace(one, checks=[*one.checks, failed]))
    assert "The balance holds." not in page
    assert "the check balance_holds has failed" in page
    assert "The balance holds." in render(replace(one, checks=[failed, replace(failed, success=True)]))


def test_a_balance_that_does_not_hold_is_said_so() -> None:
    assert "The balance holds." in render(facts())
    assert "The balance does not hold." in render(facts(inserted=8))
    under_way = render(facts(inserted=8, world="old_in_charge", state="stopped"))
    assert "The old table is in charge: 1 rows are not copied yet." in under_way
    assert "The balance does not hold." not in under_way
    failed = facts(inserted=8, world="old_in_charge", gate=asdict(GateCounts(passed=4, failed_critical=1)))
    assert "The balance does not hold." in render(failed)


def test_a_run_that_was_told_to_stop_is_not_called_a_failure() -> None:
    assert 'class="verdict busy"' in render(facts(state="stopped"))
    assert 'class="verdict bad"' in render(facts(state="stopped", error="The gate is closed"))


def test_the_report_stays_in_its_folder_and_is_for_its_owner_only(tmp_path: Path) -> None:
    page = write_report(facts(move="templates@../../etc"), tmp_path / "reports")
    assert page.resolve().is_relative_to((tmp_path / "reports").resolve())
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert json.loads((page.parent / "summary.json").read_text(encoding="utf-8"))["checks"][0]["samples"] == [HOSTILE]
    assert [path.name for path in page.parent.iterdir() if path.name.startswith(".")] == []


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ReportNotWritten, match="report --run 1"):
        write_report(facts(), tmp_path / "file")


@pytest.mark.parametrize("start", [*"=+-@＝＋－＠\t\r\n", " =", "\u3000＝", "\n+"])
def test_no_cell_of_a_csv_file_is_a_formula(start: str) -> None:
    cell = f'{start}HYPERLINK("//x")'
    assert safe(cell) == f"'{shown(cell)}"
    rows = list(csv.reader(StringIO(as_csv(["key"], [{"key": cell}]).removeprefix("\ufeff"), newline="")))
    assert rows == [["key"], [f"'{shown(cell)}"]]


def test_harmless_cells_stay_as_they_are() -> None:
    assert [safe(value) for value in ("a=b", "007", "", None, "{x}", "'quoted'")] == [
        "a=b", "007", "", "", "{x}", "'quoted'"
    ]  # fmt: skip


def test_rows_to_decide_on_stand_on_the_page_and_beside_it_and_leave_with_their_reason(tmp_path: Path) -> None:
    row = {"source_id": "=x", "owner_id": "o", "owner": HOSTILE, "target_id": "t"}
    listed = facts(decisions={"conflicts": {"total": 4321, "rows": [row]}})
    page = write_report(listed, tmp_path)
    text = page.read_text(encoding="utf-8")
    assert 'id="conflicts" open' in text
    assert "4,321" in text
    assert "'=x" in (page.parent / "conflicts.csv").read_text(encoding="utf-8-sig")
    assert HOSTILE in (page.parent / "failed.csv").read_text(encoding="utf-8-sig").replace('""', '"')
    write_report(facts(), tmp_path)
    assert [path.name for path in page.parent.glob("*.csv")] == ["failed.csv"]


def test_texts_are_shown_only_to_whoever_asked_and_escaped() -> None:
    row = {"source_id": "x", "owner_id": "o", "owner": "O", "target_id": "t"}
    apart = {"old_text": "text: 7 characters, SHA-256 0123…", "new_text": "text: 8 characters, SHA-256 4567…"}
    found = facts(decisions={"conflicts": {"total": 1, "rows": [row | apart]}})
    assert all(said in Elements(render(found)).text for said in apart.values())
    shown = render(replace(found, contents={("x", "t"): ({"text": HOSTILE}, {"text": "there"})}))
    assert HOSTILE in Elements(shown).text
    assert HOSTILE not in shown
    assert not any(said in Elements(shown).text for said in apart.values())


def test_the_flow_keeps_every_row_and_stays_on_its_canvas() -> None:
    owners = [
        {"owner_id": str(n), "owner": f"owner {n}", "rule": rule, "disposition": end, "rows": n + 1}
        for n in range(30)
        for rule, end in (("references", "inserted"), ("copy", "adopted"), ("none", "rejected"))
    ]
    found = flow(owners, {})
    total = sum(line["rows"] for line in owners)
    for x in {node.x for node in found.nodes}:
        assert sum(node.rows for node in found.nodes if node.x == x) == total
    assert max(node.x for node in found.nodes) < WIDTH
    assert all(node.y >= 0 and node.y + node.height <= found.height for node in found.nodes)
    alone = flow([], {**Counts(source_rows=5, inserted=4, conflicts=1).as_dict()})
    assert {node.label: node.rows for node in alone.nodes} == {"rows of the old table": 5, "inserted": 4, "conflict": 1}
    assert flow([], Counts().as_dict()).nodes == []
