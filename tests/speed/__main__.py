"""Run every speed comparison in turn; the exit code says whether all bounds held."""

import argparse
import sys

from tests.speed import comparing, counting, engine, grading, report, report_browser, scoring, startup

MODULES = (startup, grading, counting, comparing, scoring, report, report_browser, engine)


def main() -> None:
    """Print one table per comparison."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller sets, same comparisons")
    quick = parser.parse_args().quick
    held = [module.compare(quick=quick) for module in MODULES]
    sys.exit(0 if all(held) else 1)


if __name__ == "__main__":
    main()
