"""Plain values as bytes, and messages over a pipe: all that passes between a program and its judge.

JSON has no tuples, sets or exact numbers, takes longer to import than the rest of the harness, and
pickle runs code. Reading bytes from a program builds values of Python's own types and nothing else.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:  # the module typing would take longer to start than the harness
    from typing import Any

MAX_MESSAGE = 16 << 20
"""Bytes of a packed result; a longer one is no answer."""

MAX_PIECES = 1_000_000
"""Pieces of a packed value: bounds endless generators."""


class Opaque:
    """Stands for a result that is no plain value: equal to nothing but itself."""


OPEN = {list: b"l", tuple: b"t", set: b"S", frozenset: b"Z"}
BUILD = {tag: kind for kind, tag in OPEN.items()}


def pack(value: object) -> bytes:
    """A value as bytes: None, bool, numbers, text, bytes, ranges and containers of them, exactly.

    A subclass becomes its plain base, a scalar of numpy its Python value, a fraction or decimal a
    fraction, any other iterable an iterator over its items; whatever is left becomes `Opaque`.
    Raises ValueError for more than MAX_PIECES.
    """
    pieces: list[bytes] = []
    _pack(value, pieces)
    return b"".join(pieces)


def _pack(value: object, pieces: list[bytes]) -> None:
    if len(pieces) > MAX_PIECES:
        raise ValueError("too large")
    if value is None or value is True or value is False:
        pieces.append(b"N" if value is None else b"T" if value else b"F")
    elif isinstance(value, int):
        pieces.append(b"i%x;" % int(value))
    elif isinstance(value, float):
        pieces.append(b"f%s;" % float.hex(value).encode())
    elif isinstance(value, complex):
        pieces.append(b"c%s;%s;" % (value.real.hex().encode(), value.imag.hex().encode()))
    elif isinstance(value, str):
        text = str.encode(value, "utf-8", "surrogatepass")
        pieces.append(b"s%d;%s" % (len(text), text))
    elif isinstance(value, (bytes, bytearray)):
        pieces.append(b"b%d;%s" % (len(value), bytes(value)))
    elif isinstance(value, dict):
        pieces.append(b"d%d;" % len(value))
        for key, item in value.items():
            _pack(key, pieces)
            _pack(item, pieces)
    elif isinstance(value, range):
        pieces.append(b"r%x;%x;%x;" % (value.start, value.stop, value.step))
    else:
        _pack_other(value, pieces)


def _pack_other(value: Any, pieces: list[bytes]) -> None:
    tag = next((tag for kind, tag in OPEN.items() if isinstance(value, kind)), b"I")
    if tag == b"I" and hasattr(value, "dtype") and not getattr(value, "ndim", 1):
        return _pack(value.item(), pieces)
    if tag == b"I" and hasattr(value, "as_integer_ratio"):
        return pieces.append(b"q%x;%x;" % value.as_integer_ratio())
    if not hasattr(type(value), "__iter__"):
        return pieces.append(b"?")
    items = []
    for item in value:
        items.append(item)
        if len(items) > MAX_PIECES:
            raise ValueError("too large")
    pieces.append(tag + b"%d;" % len(items))
    for item in items:
        _pack(item, pieces)
    return None


def unpack(data: bytes) -> Any:
    """The value that was packed. Raises ValueError, TypeError or RecursionError for other bytes."""
    try:
        value, end = _unpack(data, 0)
    except ArithmeticError as error:  # a float beyond all, a fraction of nothing
        raise ValueError(str(error)) from error
    if end != len(data):
        raise ValueError("bytes after the value")
    return value


def _unpack(data: bytes, at: int) -> tuple[object, int]:
    tag = data[at : at + 1]
    at += 1
    if tag in (b"N", b"T", b"F"):
        return {b"N": None, b"T": True, b"F": False}[tag], at
    if tag == b"?":
        return Opaque(), at
    first, at = _field(data, at)
    if tag == b"i":
        return int(first, 16), at
    if tag == b"f":
        return float.fromhex(first), at
    if tag in (b"c", b"q", b"r"):
        return _unpack_several(data, at, tag, first)
    count = int(first)
    if tag in (b"s", b"b"):
        end = at + count
        if not at <= end <= len(data):
            raise ValueError("cut off")
        raw = data[at:end]
        return raw.decode("utf-8", "surrogatepass") if tag == b"s" else raw, end
    items: list[object] = []
    for _ in range(2 * count if tag == b"d" else count):
        item, at = _unpack(data, at)
        items.append(item)
    if tag == b"d":
        return dict(zip(items[::2], items[1::2], strict=True)), at
    if tag == b"I":
        return iter(items), at
    if tag not in BUILD:
        raise ValueError("no such tag")
    return BUILD[tag](items), at


def _unpack_several(data: bytes, at: int, tag: bytes, first: str) -> tuple[object, int]:
    second, at = _field(data, at)
    if tag == b"c":
        return complex(float.fromhex(first), float.fromhex(second)), at
    if tag == b"q":
        from fractions import Fraction

        return Fraction(int(first, 16), int(second, 16)), at
    third, at = _field(data, at)
    return range(int(first, 16), int(second, 16), int(third, 16)), at


def _field(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(b";", at)
    return data[at:end].decode("ascii"), end + 1


# --- messages -----------------------------------------------------------------------------------


def send(pipe: int, message: bytes) -> None:
    """Write a message whole. Raises OSError where nobody reads."""
    rest = memoryview(len(message).to_bytes(8, "big") + message)
    while rest:
        rest = rest[os.write(pipe, rest) :]


def receive(pipe: int) -> bytes | None:
    """The next message; None where the writer is gone. Raises ValueError for one that is too long."""
    head = _read(pipe, 8)
    if len(head) < 8:
        return None
    size = int.from_bytes(head, "big")
    if size > MAX_MESSAGE:
        raise ValueError("too long")
    message = _read(pipe, size)
    return message if len(message) == size else None


def _read(pipe: int, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        piece = os.read(pipe, min(size - len(found), 1 << 20))
        if not piece:
            break
        found += piece
    return bytes(found)
