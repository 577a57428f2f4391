"""One surface form for the many ways to type the same answer in LaTeX or plain text.

Covers notation only: spacing, size and font commands, fraction variants, Unicode, separators of
thousands. What an answer means is the work of prerl_eval.grading.values and .compare.

After `tidy`, set braces stand as the characters SET_OPEN and SET_CLOSE, angle brackets likewise,
percent signs as a bare "%", and words inside `\\text{...}` and its relatives.
"""

from __future__ import annotations

import re

SET_OPEN, SET_CLOSE = "\u2983", "\u2984"
ANGLE_OPEN, ANGLE_CLOSE = "\u27e8", "\u27e9"

_UNICODE = {
    "−": "-", "–": "-", "—": "-", "﹣": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "∗": "*",
    "÷": "/", "π": r"\pi ", "∞": r"\infty ", "√": r"\sqrt ", "≤": r"\leq ", "≥": r"\geq ", "⩽": r"\leq ",
    "⩾": r"\geq ", "≠": r"\neq ", "≈": r"\approx ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ",
    "∅": r"\emptyset ", "±": r"\pm ", "∓": r"\mp ", "°": r"^\circ ", "²": "^2", "³": "^3",
    "½": r"\frac{1}{2}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}", "％": "%", "，": ",", "（": "(", "）": ")",
    "ℝ": r"\mathbb{R}", "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u200b": "", "θ": r"\theta ",
    "α": r"\alpha ", "β": r"\beta ", "₀": "_0", "₁": "_1", "₂": "_2", "₃": "_3", "₄": "_4", "₅": "_5",
    "₆": "_6", "₇": "_7", "₈": "_8", "₉": "_9",
}  # fmt: skip

_COMMANDS = {
    "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "dbinom": "binom", "tbinom": "binom", "le": "leq",
    "leqslant": "leq", "leqq": "leq", "ge": "geq", "geqslant": "geq", "geqq": "geq", "lt": "<", "gt": ">",
    "ne": "neq", "varnothing": "emptyset", "land": "wedge", "lor": "vee", "mbox": "text",
    "textbf": "text", "textit": "text", "textrm": "text", "textsf": "text", "texttt": "text",
    "textnormal": "text", "emph": "text", "mathrm": "text", "mathsf": "text", "mathtt": "text",
    "mathit": "text", "operatorname": "text", "rm": "", "bf": "", "it": "", "displaystyle": "",
    "textstyle": "", "limits": "", "left": "", "right": "", "big": "", "Big": "", "bigg": "", "Bigg": "",
    "bigl": "", "bigr": "", "Bigl": "", "Bigr": "", "biggl": "", "biggr": "", "Biggl": "", "Biggr": "",
    "middle": "", "phantom": "", "mathbf": "", "boldsymbol": "", "bm": "", "mathnormal": "",
    "ensuremath": "", "quad": " ", "qquad": " ", "thinspace": " ", "hspace": " ", "lbrace": SET_OPEN,
    "rbrace": SET_CLOSE, "langle": ANGLE_OPEN, "rangle": ANGLE_CLOSE, "lparen": "(", "rparen": ")",
    "lbrack": "[", "rbrack": "]", "vert": "|", "lvert": "|", "rvert": "|", "mid": "|", "colon": ":",
    "dots": "ldots", "cdots": "ldots", "degree": "^\\circ", "celsius": "^\\circ", "arccos": "arccos",
    "percent": "%", "mathbin": "", "nolimits": "", "tg": "tan", "ctg": "cot", "backslash": "setminus",
    "smallsetminus": "setminus",
}  # fmt: skip

_NAMED = re.compile(
    r"\\text\s*\{\s*(arcsin|arccos|arctan|arcsec|arccsc|arccot|sinh|cosh|tanh|coth|sech|csch|sin|cos|tan|cot|sec|csc"
    r"|log|ln|exp|lcm|gcd|max|min|det)\s*\}"
)
_COMMAND = re.compile(r"\\([A-Za-z]+)\*?")
_CAPTION = re.compile(r"^\\text\{[A-Za-z ]{3,40}:\s*\}\s*(?=\S)")
_EMPTY = re.compile(r"\\text\{\s*\}|(?<=[\d)}])\{\}|^\{\}")
_ORDINAL = re.compile(
    r"(?<=\d)\s*(?:\^\s*)?\{?\s*\\text\{\s*(?:st|nd|rd|th)\s*\}\s*\}?|(?<=\d)(?:st|nd|rd|th)\b"
)
_CIRCLE = re.compile(r"\s*\^?\s*(?:\{\s*\\circ\s*\}|\\circ(?![A-Za-z]))")
_ANGLE = re.compile(r"(\d+(?:\.\d+)?)" + _CIRCLE.pattern)
_TRIGONOMETRY = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")
# An upright letter is a symbol, unless it follows a number: then it is a unit ("5\\text{ m}").
_UPRIGHT = re.compile(
    r"\\text\{\s*([edi])\s*\}"
    r"|(?<![\d)}])(?<![\d)}] )\\text\{\s*([A-Za-z])\s*\}(?=\s*[\^_(+\-*/=<>]|\s*$)"
)
_PRIME = re.compile(r"\^\s*(?:\{\s*(?:\\prime\s*)+\}|\\prime(?![A-Za-z]))")
_SCRIPT = re.compile(r"([_^])\s*([0-9A-Za-z])(?![0-9.])")
_SPACES = re.compile(r"\s+")
_CHOOSE = re.compile(r"\{([^{}]{1,40})\\choose(?![A-Za-z])([^{}]{1,40})\}")
_CHOICES = re.compile(r"(?<![A-Za-z\\])C\(([^(),]*[a-z][^(),]*),([^(),]+)\)")
_COMBINATIONS = re.compile(r"(?<![A-Za-z\\])C_\s*\{?([^{}^]*[kmn])\}?\s*\^\s*(?:\{([^{}]+)\}|(\w))")
_OF_SET = re.compile(rf"\\(max|min|gcd|lcm)\s*{SET_OPEN}([^{SET_OPEN}{SET_CLOSE}]*){SET_CLOSE}")
_NUMBER_IN_WORDS = re.compile(
    r"\\text\{\s*([+-]?\d[^A-Za-z{}]*)(?P<label>(?<=\s)(?![ap]\.?m\b)[A-Za-z][A-Za-z .]*)?\}", re.IGNORECASE
)
_PYTHON = re.compile(r"\b(?:np|math|sympy)\.(?=[a-z])")
_PYTHON_CALL = re.compile(r"(?<![\\A-Za-z])(arcsin|arccos|arctan|sqrt|sin|cos|tan|log|ln|exp)(?=\s*\()")
_LONE_ROW = re.compile(r"(?<!\\)\\(?=[-\d])")
_SYMBOLIC_SUBSCRIPT = re.compile(
    r"_\s*(?:\{\s*\\(?:odot|star|ast|text\s*\{\s*([A-Za-z]+)\s*\})\s*\}|\\(?:odot|star|ast))"
)


def tidy(text: str) -> str:
    r"""`text` in the one surface form.

    "11,\! 111" and "11{,}111" become "11,111", and "11\,111" becomes "11111". Degree signs go, and
    inside trigonometric expressions 30 degrees become \frac{30\pi}{180}.
    """
    text = _SPACES.sub(" ", text)
    for character, latex in _UNICODE.items():
        if character in text:
            text = text.replace(character, latex)
    if r"\begin" not in text:
        text = re.sub(r"\\\\(?=[A-Za-z%{}])", r"\\", text)  # JSON escaped twice
    text = text.replace(r"\%", "%").replace(r"\$", r"\dollar ").replace("$", " ")
    text = re.sub(r"(?<!\\)\\[()\[\]]", " ", text)
    text = re.sub(r"\\(?:left|right)\s*\.", " ", text)
    text = re.sub(r",\s*\\!\s*|\{,\}\s*|\\!", lambda m: "," if "," in m.group() else "", text)
    text = re.sub(r"(?<=\d)\\,(?=\d{3}(?!\d))", "", text)
    text = text.replace(r"\{", SET_OPEN).replace(r"\}", SET_CLOSE)
    if "matrix" in text:
        text = _LONE_ROW.sub(r"\\\\", text)
    text = re.sub(r"(?<!\\)\\[,;:!> ]", " ", text).replace("~", " ")
    text = _PYTHON_CALL.sub(r"\\\1", _PYTHON.sub("", text))
    text = _COMMAND.sub(_rename, text)
    text = _OF_SET.sub(r"\\\1(\2)", text)
    if match := _NUMBER_IN_WORDS.fullmatch(text.strip()):
        text = match[1] + (rf"\text{{ {match['label']}}}" if match["label"] else "")
    text = _COMBINATIONS.sub(lambda m: rf"\binom{{{m[1]}}}{{{m[2] or m[3]}}}", text)
    text = _CHOOSE.sub(r"\\binom{\1}{\2}", text)
    text = _CHOICES.sub(r"\\binom{\1}{\2}", text)
    text = _NAMED.sub(r"\\\1 ", text)
    text = _ORDINAL.sub("", text)
    text = _SYMBOLIC_SUBSCRIPT.sub(lambda m: "_{" + (m[1] or "o") + "}", text)
    text = re.sub(r"\\text\s+(?=\{)", r"\\text", text)
    text = _UPRIGHT.sub(lambda m: m[1] or m[2], text)
    if r"\circ" in text:
        if _TRIGONOMETRY.search(text):
            text = _ANGLE.sub(r"(\\frac{\1\\pi}{180})", text)
        text = _CIRCLE.sub(" ", text)
    text = _PRIME.sub(lambda m: "'" * m.group().count("prime"), text)
    text = _SCRIPT.sub(r"\1{\2}", text)
    text = _CAPTION.sub("", _EMPTY.sub("", text))
    text = _SPACES.sub(" ", text).strip()
    return _trim(text)


def _rename(match: re.Match[str]) -> str:
    name = match[1]
    if name not in _COMMANDS:
        return match.group()
    new = _COMMANDS[name]
    return ("\\" + new if new[:1].isalpha() else new) if new else ""


def _trim(text: str) -> str:
    """Outer punctuation and brackets that carry no meaning."""
    while True:
        shorter = text.strip().rstrip(".,;:").strip()
        if shorter.endswith("\\"):
            shorter = shorter[:-1]
        if shorter.startswith("{") and _closes_at_end(shorter):
            shorter = shorter[1:-1]
        for lead in ("=", r"\approx", "**", ":"):
            shorter = shorter.removeprefix(lead)
        shorter = shorter.removesuffix("**")
        if shorter == text:
            return text
        text = shorter


_OPEN = {"(": ")", "[": "]", "{": "}", SET_OPEN: SET_CLOSE, ANGLE_OPEN: ANGLE_CLOSE}
_CLOSE = frozenset(_OPEN.values())


def _closes_at_end(text: str) -> bool:
    """The bracket that opens `text` is closed by its last character."""
    depth = 0
    for position, character in enumerate(text):
        depth += (character in _OPEN) - (character in _CLOSE)
        if depth == 0:
            return position == len(text) - 1
    return False


def enclosed(text: str) -> bool:
    """`text` is one bracketed group; "(3,4]" is, "(x+1)(x-1)" is not."""
    return (
        len(text) >= 2 and text[0] in _OPEN and text[0] != "{" and text[-1] in _CLOSE and _closes_at_end(text)
    )


def split_top(text: str, separators: re.Pattern[str]) -> list[str]:
    """`text` cut where `separators` matches outside every bracket and environment."""
    pieces, depth, start, position = [], 0, 0, 0
    while position < len(text):
        character = text[position]
        if character == "\\" and text.startswith((r"\begin", r"\end"), position):
            depth += 1 if text.startswith(r"\begin", position) else -1
            position += 4
            continue
        if depth == 0 and (match := separators.match(text, position)) and match.end() > position:
            pieces.append(text[start:position])
            start = position = match.end()
            continue
        depth += (character in _OPEN) - (character in _CLOSE)
        depth = max(depth, 0)
        position += 1
    pieces.append(text[start:])
    return [piece.strip() for piece in pieces]


def squeeze(text: str) -> str:
    """`text` without the spaces that mean nothing: those in "\\pi r" and "3 5" part two things."""
    single = _SPACES.sub(" ", text.strip())
    return re.sub(r"(?<![A-Za-z\d]) |(?<=[A-Za-z]) (?![A-Za-z])|(?<=\d) (?!\d)", "", single)
