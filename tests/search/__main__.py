"""`make search MINUTES=60 SERVERS=15,18`: looks for what nobody thought of, says what it tried, and stops in time.

`PARTS=singles,drawn,steps,mutants` narrows it, `SEED=…` makes it the same again. Exit 1 where something was found that
`known.py` does not know; mutants that survive are listed and counted, and are no finds.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter

from tests import servers
from tests.search import mutants
from tests.search.hunt import Hunt, laboratory
from tests.search.known import KNOWN

SHARES = {"singles": 0.3, "drawn": 0.2, "steps": 0.25, "mutants": 0.25}


def main(minutes: float, parts: list[str]) -> int:
    number = int(os.environ.get("SEED") or time.time())
    share = minutes * 60 / sum(SHARES[part] for part in parts)
    print(f"seed {number}, {minutes:g} minutes, PostgreSQL {', '.join(map(str, servers.CHOSEN))}", flush=True)
    counts: Counter[str] = Counter()
    found: dict[str, str] = {}
    on_servers = [part for part in parts if part != "mutants"]
    seconds = {part: share * SHARES[part] / len(servers.CHOSEN) for part in on_servers}
    try:
        for major in servers.CHOSEN if on_servers else ():
            _on_a_server(major, seconds, number, found, counts)
        if "mutants" in parts:
            mutants.hunt(time.monotonic() + share * SHARES["mutants"], number, counts)
    except KeyboardInterrupt:
        print("stopped")
    _tell(counts, found)
    return int(bool(set(found) - set(KNOWN)))


def _on_a_server(
    major: int, seconds: dict[str, float], number: int, found: dict[str, str], counts: Counter[str]
) -> None:
    with servers.started(major) as server, laboratory(server.get_uri()) as made:
        made.counts = counts
        for part, time_for_it in seconds.items():
            hunt = Hunt(
                made,
                time.monotonic() + time_for_it,
                lambda line: print(f"[{major}] {line}", flush=True),
                found,
            )
            _look(hunt, part, number)


def _look(hunt: Hunt, part: str, number: int) -> None:
    if part == "singles":
        hunt.singles(number)
        return
    while not hunt.over():
        number += 1
        if part == "drawn":
            hunt.drawn(examples=20, number=number)
        else:
            hunt.steps(examples=3, length=14, number=number)


def _tell(counts: Counter[str], found: dict[str, str]) -> None:
    print("\nTried:")
    for name, count in sorted(counts.items()):
        print(f"{count:8,}  {name}")
    for area in ("pure", "sql", "suite"):
        verdicts = {name.rpartition(" ")[2]: count for name, count in counts.items() if f"mutants of {area}:" in name}
        if verdicts:
            print(f"{verdicts.get('killed', 0) / sum(verdicts.values()):8.0%}  of the mutants of {area} killed")
    print(f"\n{len(found):,} kinds of finds, {len(set(found) - set(KNOWN)):,} of them new")
    for what, how in sorted(found.items()):
        print(f"- {what}{' (known)' if what in KNOWN else ''}\n    {how}")


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), (os.environ.get("PARTS") or ",".join(SHARES)).split(",")))
