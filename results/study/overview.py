"""What all of it comes to: the claims in results/README.md, and their verdicts in the project's README.

Covers where the tables stand. Does not cover what is in them (claims.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from results.study.claims import claims_table, verdicts_table
from results.study.committed import Committed, load_committed
from results.study.plan import Study
from results.study.tables import with_tables

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = ROOT / "results" / "nano"


def overview_tables(data: Committed) -> Mapping[Path, Mapping[str, str]]:
    """File -> the tables in it."""
    return {
        ROOT / "results" / "README.md": {"claims": claims_table(data)},
        ROOT / "README.md": {"verdicts": verdicts_table(data)},
    }


def write_overview(study: Study) -> list[Path]:
    """Write the tables of claims and verdicts from the committed study; of another one nothing.

    Returns the files.
    """
    if study.folder.resolve() != COMMITTED:
        return []
    written = overview_tables(load_committed(study))
    for file, tables in written.items():
        file.write_text(with_tables(file.read_text(encoding="utf-8"), tables), encoding="utf-8")
    return list(written)
