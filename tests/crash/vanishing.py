"""Inside a network namespace of its own: a run through the proxy, and then no packet arrives any more, nor an answer.

`unshare -n python -m tests.crash.vanishing URL REPORTS` prints the exit code and the seconds until the run gave up.
"""

from __future__ import annotations

import subprocess
import sys
import time

from tests.command import start
from tests.crash.proxy import Weather, proxy
from tests.crash.sweep import RUN
from tests.crash.test_network import in_phase


def main() -> None:
    url, reports = sys.argv[1:]
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with proxy(url) as way:
        way.weather = Weather(delay=0.005)
        going = start(*RUN, "--report-dir", reports, DATABASE_URL=way.url())
        in_phase(url, "copy")
        subprocess.run(["ip", "link", "set", "lo", "down"], check=True)
        started = time.monotonic()
        _, said = going.communicate(timeout=100)
        print(going.returncode, round(time.monotonic() - started, 1))
        print(said, file=sys.stderr)


if __name__ == "__main__":
    main()
