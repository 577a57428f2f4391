"""Pictures of a report, each inside the page as a data: URI with words for those who do not see it.

Covers putting pictures into the page; drawing is plots.py's, panels.py's and their users'.
"""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prerl_eval.errors import UserError
from prerl_eval.layout import percent
from prerl_eval.metrics import Curve

KINDS = {".svg": "image/svg+xml", ".png": "image/png"}


@dataclass(frozen=True)
class Picture:
    """A picture: its data: URI, what it shows in words, and the line below it."""

    uri: str
    alt: str
    caption: str


def drawn(draw: Callable[[Path], None], alt: str, caption: str) -> Picture:
    """What `draw` writes into the SVG file that it is given."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "picture.svg"
        draw(file)
        return Picture(_uri(file.read_bytes(), ".svg"), alt, caption)


def given(file: Path) -> Picture:
    """A picture of the user's. Raises UserError where it is not readable, or is no SVG or PNG."""
    suffix = file.suffix.lower()
    if suffix not in KINDS:
        raise UserError(f"--picture {file} is neither .svg nor .png; draw it as one of these")
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UserError(f"--picture {file} cannot be read ({error.strerror}); give another file") from error
    return Picture(_uri(data, suffix), f"Picture {file.name}", file.name)


def _uri(data: bytes, suffix: str) -> str:
    return f"data:{KINDS[suffix]};base64,{base64.b64encode(data).decode('ascii')}"


def passk_words(curves: Mapping[str, Mapping[str, Curve]]) -> str:
    """A Pass@k picture in a few sentences: where each line begins and ends."""
    sentences = []
    for name in dict.fromkeys(name for own in curves.values() for name in own):
        ends = [
            f"{run} from {percent(own[name].value[0])}% at k = 1 to {percent(own[name].value[-1])}% "
            f"at k = {own[name].n}"
            for run, own in curves.items()
            if name in own
        ]
        sentences.append(f"{name}: {'; '.join(ends)}.")
    return f"Pass@k against k, a panel per benchmark. {' '.join(sentences)}"


def differences_words(verdicts: Sequence[tuple[str, str, str]]) -> str:
    """A picture of Pass@k differences in words: (benchmark, method, verdict) each."""
    return "Pass@k minus the base's, against k. " + " ".join(
        f"{benchmark}, {method}: {verdict}." for benchmark, method, verdict in verdicts
    )
