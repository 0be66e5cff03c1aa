"""LaTeX: its text, headings, lists, tables, code and formulas as Markdown.

Left out: the preamble, comments, labels, options of commands, files that are included. Formulas stay as they are written.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping

from ingest.source.convert.notebook import fenced
from ingest.source.convert.page import Page
from ingest.source.convert.text import decode

_LEVELS = {"part": 1, "chapter": 1, "section": 2, "subsection": 3, "subsubsection": 4, "paragraph": 5, "subparagraph": 6}
_VERBATIM = re.compile(
    r"\\begin\{(verbatim\*?|lstlisting|minted|alltt|Verbatim)\}(?:\[[^\]]*\])?(?:\{([\w+-]*)\})?(.*?)\\end\{\1\}", re.DOTALL
)
_VERB = re.compile(r"\\verb\*?([^\w\s*])(.*?)\1")
_MATH = re.compile(
    r"\$\$.*?\$\$|(?<!\\)\$(?:[^$\\]|\\.)+\$|\\\[.*?\\\]|\\\(.*?\\\)"
    r"|\\begin\{(equation|align|gather|multline|eqnarray|displaymath|math)(\*?)\}.*?\\end\{\1\2\}",
    re.DOTALL,
)
_COMMENT = re.compile(r"(?<!\\)((?:\\\\)*)%.*?(?:\n[ \t]*|$)")
_HIDDEN_BLOCK = re.compile(r"\\begin\{comment\}.*?(?:\\end\{comment\}|$)|\\iffalse\b.*?(?:\\fi\b|$)", re.DOTALL)
_ACCENT = re.compile(r"\\([`'^\"~=.]|[uvHcdbkr](?![A-Za-z]))\s*(?:\{(\\?[A-Za-z])\}|(\\[ij]\b|[A-Za-z]))")
_COMBINING = dict(
    zip(
        "`'^\"~=.uvHcdbkr",
        "\u0300\u0301\u0302\u0308\u0303\u0304\u0307\u0306\u030c\u030b\u0327\u0323\u0331\u0328\u030a",
        strict=True,
    )
)
_SIGNS = {
    "ss": "ß", "ae": "æ", "AE": "Æ", "oe": "œ", "OE": "Œ", "o": "ø", "O": "Ø", "aa": "å", "AA": "Å", "l": "ł", "L": "Ł", "i": "ı",
    "ldots": "…", "dots": "…", "textendash": "–", "textemdash": "—", "copyright": "©", "LaTeX": "LaTeX", "TeX": "TeX", "S": "§",
    "textbackslash": "\\", "textasciitilde": "~", "textasciicircum": "^", "euro": "€", "pounds": "£", "degree": "°", "quad": " ",
    "qquad": " ", "newline": "\n", "par": "\n\n", "item": "\n- ",
}  # fmt: skip
_HIDDEN = {
    "label", "index", "vspace", "hspace", "includegraphics", "input", "include", "bibliographystyle", "bibliography",
    "pagestyle", "thispagestyle", "setcounter", "usepackage", "newcommand", "renewcommand", "hypersetup", "documentclass",
    "addcontentsline", "nocite", "vskip", "hskip", "cmidrule", "cline", "title", "author", "date", "setlength", "addtolength",
    "providecommand", "newenvironment", "graphicspath",
}  # fmt: skip
_TWO_ARGUMENTS = {"setcounter", "newcommand", "renewcommand", "setlength", "addtolength", "addcontentsline", "providecommand"}
_COMMAND = re.compile(r"\\([A-Za-z]+)\*?[ \t]*((?:\[[^\[\]]*\][ \t]*)*)")
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\{([A-Za-z*]+)\}(?:\[[^\]]*\])?((?:\{[^{}]*\})*)")
_KEPT = "\ue000{}\ue001"
_KEPT_AT = re.compile("\ue000(\\d+)\ue001")


def latex_page(data: bytes) -> Page:
    """Return a LaTeX file as Markdown, with its title and author."""
    source = decode(data).replace("\r\n", "\n")
    kept: list[str] = []

    def keep(text: str) -> str:
        kept.append(text)
        return _KEPT.format(len(kept) - 1)

    source = _VERBATIM.sub(lambda match: f"\n\n{keep(fenced(match[3], match[2] or ''))}\n\n", source)
    source = _VERB.sub(lambda match: keep(f"`{match[2]}`"), source)
    source = _HIDDEN_BLOCK.sub("", _COMMENT.sub(r"\1", source))
    facts = {name: _plain(found) for name in ("title", "author") if (found := _argument_of(source, name))}
    _, begin, body = source.partition("\\begin{document}")
    text = (body if begin else source).partition("\\end{document}")[0]
    text = _MATH.sub(lambda match: keep(match[0]), text)
    text = _plain(text)
    while _KEPT_AT.search(text):
        text = _KEPT_AT.sub(lambda match: kept[int(match[1])], text)
    text = re.sub(r"[ \t]+\n", "\n", text)
    title = facts.pop("title", None)
    return Page(re.sub(r"\n{3,}", "\n\n", text).strip(), title=title, metadata=facts)


def _argument_of(source: str, command: str) -> str | None:
    match = re.search(rf"\\{command}(?:\[[^\]]*\])?\s*\{{", source)
    return _group(source, match.end() - 1)[0] if match else None


def _group(text: str, at: int) -> tuple[str, int]:
    """Return the content of the braces that open at an offset, and the offset behind them."""
    depth = 0
    end = at
    while end < len(text):
        if text[end] == "\\":
            end += 1
        elif text[end] == "{":
            depth += 1
        elif text[end] == "}":
            depth -= 1
            if depth == 0:
                return text[at + 1 : end], end + 1
        end += 1
    return text[at + 1 :], len(text)


def _plain(text: str) -> str:
    text = _ACCENT.sub(_accented, text)
    text = re.sub(r"\\\\(?:\[[^\]]*\])?", "\n", text)
    text = _ENVIRONMENT.sub("\n", text)
    text = re.sub(r"(?<!\\)&", " | ", text)
    text = re.sub(r"(?<!\\)~", " ", text)
    parts: list[str] = []
    at = 0
    while match := _COMMAND.search(text, at):
        parts.append(text[at : match.start()])
        at = match.end()
        name = match[1]
        if name in _SIGNS:
            parts.append(_SIGNS[name])
            if text[at : at + 2] == "{}":
                at += 2
        elif text[at : at + 1] == "{":
            argument, at = _group(text, at)
            at = at if name not in _TWO_ARGUMENTS or text[at : at + 1] != "{" else _group(text, at)[1]
            if name in _LEVELS:
                parts.append(f"\n\n{'#' * _LEVELS[name]} {' '.join(_plain(argument).split())}\n\n")
            elif name == "href" and text[at : at + 1] == "{":
                label, at = _group(text, at)
                parts.append(f"[{_plain(label)}]({argument})")
            elif name not in _HIDDEN:
                parts.append(_WRITTEN.get(name, str)(_plain(argument)))
    parts.append(text[at:])
    return _typeset("".join(parts))


_WRITTEN: Mapping[str, Callable[[str], str]] = {
    "footnote": " [{}]".format,
    "cite": "[{}]".format,
    "citep": "[{}]".format,
    "citet": "[{}]".format,
    "caption": "\n\n{}\n\n".format,
    "textsuperscript": "^{}^".format,
    "textsubscript": "~{}~".format,
    "sout": "~~{}~~".format,
}


def _typeset(text: str) -> str:
    text = re.sub(r"\\([%&_#${}])", r"\1", re.sub(r"(?<!\\)[{}]", "", text))
    text = re.sub(r"\\[,;:! ]", " ", text).replace("\\-", "").replace("\\/", "")
    for written, sign in (("---", "—"), ("``", "“"), ("''", "”")):
        text = text.replace(written, sign)
    return re.sub(r"(?<=\w)--(?=\w)", "–", text)


def _accented(match: re.Match[str]) -> str:
    letter = (match[2] or match[3]).lstrip("\\")
    return unicodedata.normalize("NFC", letter + _COMBINING[match[1]])
