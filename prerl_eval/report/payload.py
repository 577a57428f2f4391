"""The format in which traces stand in a report: what render.py writes and assets/report.js reads.

Covers packing and its description; which figures go in is traces.py's. A report's page has

    <script type="application/json" id="meta">      plain JSON, see below
    <script type="text/plain" class="chunk" data-key="facts/B">   facts of all samples of benchmark B
    <script type="text/plain" class="chunk" data-key="B/P">       texts of problem P of benchmark B

B and P are places in the lists of `meta`, never names. A CHUNK is base85 (below) of raw deflate (the
browser's DecompressionStream "deflate-raw") of: a header, JSON on one line; a line feed; then texts in
UTF-8, one after the other. header.texts lists their lengths in BYTES, so that one text can be decoded alone.

Base85 costs 1.25 times the bytes, base64 1.33. Five digits of ALPHABET, the most significant first, are
four bytes, big-endian. The last group may be short: fill it up with the digit 84 ("~"), decode it, and
drop as many bytes as were filled in. No digit is < > & / - or a quote, so a chunk ends no element and
opens no comment.

meta = {
  version: 1,
  statuses: ["correct", "wrong", ...],                   the seven, `unscored` last
  runs: [{name, base: bool, made: "settings in words"}],
  labels: [{name, annotation, kind: "words"|"judge"|"other"}],   what marks in traces mean
  values: [{name, annotation, about}],                   numbers per sample: log-probs
  hints: ["what could be added to the traces, and by which command"],
  benchmarks: [{name, problems: [{id, title, gold,
                samples: [S per run], correct: [C per run]}]}]   S = 0: the run did not answer it
}
facts header = {texts: [], runs: [null where S = 0 for all problems, or {
  index: [sample_index], status: [place in meta.statuses], tokens: [number or null],
  finish: ["stop"|"length"|""|server's word], answer: [at most 80 characters],
  counts: {"L": [marks of meta.labels[L] or null where the sample was not annotated]},
  values: {"V": [number of meta.values[V] or null]}
}]}                        every list: one entry per sample, problems in meta's order, then by sample_index
problem header = {texts: [bytes], runs: [[{
  index, status, tokens, finish,                          as in facts
  answer, gold, detail, grader, seconds: number, opens_thinking: bool,
  prompt: T, completion: T,                               places in texts
  spans: [[start, length, L]],                            marks by start, then longest first; they may overlap
  values: {"V": number}, notes: {annotation: text}        notes: what it says of the whole ("ok", "refused")
}]]}                       one list per run, in meta's order, samples by sample_index

Starts and lengths of spans are in UTF-16 code units of the completion: JavaScript's string indices.
Problems are in the natural order of their ids (2 before 10).
"""

from __future__ import annotations

import json
import zlib
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

VERSION = 1

ALPHABET = "".join(chr(code) for code in range(33, 127) if chr(code) not in "\"&'-/<>\\`")
"""The 85 digits: printable ASCII without nine signs that mean something in HTML."""

COMPACT: dict[str, Any] = {"ensure_ascii": False, "separators": (",", ":"), "allow_nan": False}


def pack(header: Mapping[str, Any], texts: Sequence[bytes] = ()) -> str:
    """A chunk: header and texts (UTF-8) compressed, in base85. `texts` of the header is filled in."""
    line = json.dumps({"texts": [len(text) for text in texts], **header}, **COMPACT)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL + 1)
    pieces = [deflate.compress(line.encode() + b"\n"), *map(deflate.compress, texts), deflate.flush()]
    return to_base85(b"".join(pieces))


def unpack(chunk: str) -> tuple[dict[str, Any], list[str]]:
    """Header and texts of a chunk: what report.js does, for tests and for other readers of a report."""
    raw = zlib.decompress(from_base85(chunk), -zlib.MAX_WBITS)
    line, _, rest = raw.partition(b"\n")
    header: dict[str, Any] = json.loads(line)
    texts, start = [], 0
    for length in header["texts"]:
        texts.append(rest[start : start + length].decode())
        start += length
    return header, texts


def to_base85(data: bytes) -> str:
    """Bytes as digits of ALPHABET, see above."""
    missing = -len(data) % 4
    words = np.frombuffer(data + b"\0" * missing, dtype=">u4").astype(np.uint32)
    digits = np.empty((len(words), 5), dtype=np.uint8)
    for place in reversed(range(5)):
        words, digits[:, place] = np.divmod(words, 85)
    text = np.frombuffer(ALPHABET.encode(), dtype=np.uint8)[digits].tobytes().decode("ascii")
    return text[: len(text) - missing]


def from_base85(text: str) -> bytes:
    """What `to_base85` was given."""
    missing = -len(text) % 5
    places = np.zeros(128, dtype=np.uint32)
    places[list(ALPHABET.encode())] = np.arange(85)
    digits = places[list((text + ALPHABET[-1] * missing).encode())].reshape(-1, 5)
    words = np.zeros(len(digits), dtype=np.uint64)
    for place in range(5):
        words = words * 85 + digits[:, place]
    data = words.astype(">u4").tobytes()
    return data[: len(data) - missing]


def script_json(value: Any) -> str:
    """JSON for a <script> element: no character in it can end the element or open a comment."""
    text = json.dumps(value, **COMPACT)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def utf16_offsets(text: str, places: Sequence[int]) -> list[int]:
    """Places in code points as places in UTF-16 code units; `places` in any order."""
    wide = [] if text.isascii() else [place for place, sign in enumerate(text) if ord(sign) > 0xFFFF]
    return [place + bisect_left(wide, place) for place in places]
