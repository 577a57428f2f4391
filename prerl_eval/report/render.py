"""From what is to be shown to one HTML file: templates, style and script inside, nothing from elsewhere.

The page forbids itself everything but its own script and style, known by their hashes, and pictures in
data: URIs (Content-Security-Policy). Covers the file; what stands in it is report.py's and index.py's.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from prerl_eval.errors import RunStopped, UserError

FOLDER = Path(__file__).resolve().parent
SUFFIXES = (".html", ".htm")

Pieces = Callable[[Iterable[str]], None]
"""Takes the page in pieces."""


def render(template: str, facts: Mapping[str, Any], *, script: bool = True) -> Iterator[str]:
    """A page in pieces: `facts` in a template of this package. script: whether assets/*.js is in it."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, code = _assets("*.css"), _assets("*.js") if script else ""
    page = {"csp": policy(style, code), "style": Markup(style), "script": Markup(code)}
    return environment.get_template(template).generate({**facts, "page": page})


def _assets(pattern: str) -> str:
    """The files of assets/ as one, report.* last: it uses the others. The same text is hashed and shown."""
    files = sorted((FOLDER / "assets").glob(pattern), key=lambda file: (file.stem == "report", file.name))
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    if "</s" in text.lower():
        raise ValueError(f"{pattern} of assets would end its own element")
    return text


def policy(style: str, script: str) -> str:
    """The Content-Security-Policy of a page with this style and this script ("" for none)."""
    code = f"'sha256-{_digest(script)}'" if script else "'none'"
    return (
        f"default-src 'none'; script-src {code}; style-src 'sha256-{_digest(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


@contextmanager
def writing(out: Path) -> Iterator[Pieces]:
    """The file `out`, whole or not at all: what is put appears under its name when the block ends well.

    Raises UserError, before the block, for another suffix than .html and where `out` cannot be written;
    RunStopped on a full disk.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise UserError(f"--out {out} is no name of a page; name it .html")
    if out.is_dir():
        raise UserError(f"--out {out} is a folder; name a file in it, such as {out / 'report.html'}")
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        file = temporary.open("wb")
    except OSError as error:
        raise UserError(f"cannot write {out} ({error.strerror}); give another --out") from error
    try:
        with file:
            yield lambda pieces: _put(file, pieces)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(out)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise RunStopped(f"{out}: the disk is full; make room and run the same command") from error
    finally:
        temporary.unlink(missing_ok=True)


def _put(file: IO[bytes], pieces: Iterable[str]) -> None:
    for piece in pieces:
        file.write(piece.encode("utf-8", "replace"))
