"""`python -m benchmarks`: brings up its own labs, measures everything in one run, prints one table.

Exit status 0 says that the run worked, not that every limit was met: the table tells that.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from benchmarks import compose, containers, footprint, ground, reads, results
from swarmproxy.lab import LabError, PlanError

SUITES = ("containers", "compose", "reads", "footprint")
FULL = {"containers": 80, "compose": 15, "reads": 25, "each": 40, "per_node": 30, "idle": 30}
QUICK = {"containers": 8, "compose": 2, "reads": 5, "each": 20, "per_node": 10, "idle": 8}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="about a minute; for a first look, not for comparing")
    parser.add_argument("--keep", action="store_true", help="leave the labs up, and use those that are")
    parser.add_argument("--only", action="append", choices=SUITES, help="repeatable; all when none is named")
    parser.add_argument("--out", type=Path, metavar="FILE", help="of the raw samples [benchmarks/results/TIME.json]")
    parser.add_argument("--table", type=Path, metavar="FILE", help="print the table of an earlier run, measure nothing")
    args = parser.parse_args()
    if args.table is not None:
        print(results.Results.read(args.table).text())
        return 0
    try:
        found = measure(QUICK if args.quick else FULL, args.only or SUITES, keep=args.keep)
    except (LabError, PlanError, RuntimeError, OSError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    out = args.out or results.FOLDER / time.strftime("%Y%m%d-%H%M%S.json", time.gmtime())
    found.write(out)
    print(f"\n{found.text()}\n\nraw samples: {out}")
    return 0


def measure(amount: dict[str, int], suites: list[str] | tuple[str, ...], *, keep: bool) -> results.Results:
    """The whole run. Create and compose come first, while all engines hold equally many containers."""
    print("  labs: up, and filled", file=sys.stderr)
    with ground.prepared(per_node=amount["per_node"], keep=keep) as here:
        found = results.begin(
            containers=here.count,
            per_node=here.per_node,
            engines=[match.version for match in here.matches],
            idle_seconds=amount["idle"],
        )
        if "containers" in suites:
            found.suites.append(containers.run(here, rounds=amount["containers"]))
        if "compose" in suites:
            found.suites.append(compose.run(here, rounds=amount["compose"]))
        if "reads" in suites:
            found.suites.insert(0, reads.run(here, rounds=amount["reads"], each=amount["each"]))
        if "footprint" in suites:
            print(f"  footprint: {amount['idle']} s of nothing", file=sys.stderr)
            found.footprints = footprint.run(here, seconds=amount["idle"], settle=5)
        found.machine.load.append(os.getloadavg()[0])
    return found


if __name__ == "__main__":
    sys.exit(main())
