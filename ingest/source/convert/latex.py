"""LaTeX: its text, headings, lists, tables, code and formulas as Markdown.

Commands that the file defines stand for their text. Left out: the preamble, comments, labels, options of commands, files that are
included. Formulas stay as they are written.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ingest.source.convert.notebook import fenced
from ingest.source.convert.page import Page
from ingest.source.convert.text import decode

_LEVELS = {
    "part": 1,
    "chapter": 1,
    "section": 2,
    "subsection": 3,
    "subsubsection": 4,
    "paragraph": 5,
    "subparagraph": 6,
    "frametitle": 3,
}
_VERBATIM = re.compile(
    r"\\begin\{(verbatim\*?|lstlisting|minted|alltt|Verbatim)\}(?:\[[^\]]*\])?(?:\{([\w+-]*)\})?(.*?)\\end\{\1\}", re.DOTALL
)
_VERB = re.compile(r"\\(?:verb\*?|lstinline(?:\[[^\]]*\])?)([^\w\s*{\[])(.*?)\1")
_ADDRESS = re.compile(r"(\\(?:url|path|nolinkurl|href))\s*\{([^{}\n]*)\}")  # a percent sign in it begins no comment
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
    "qquad": " ", "newline": "\n", "par": "\n\n",
}  # fmt: skip
_HIDDEN = {
    "label", "index", "vspace", "hspace", "includegraphics", "input", "include", "bibliographystyle", "bibliography",
    "pagestyle", "thispagestyle", "setcounter", "usepackage", "newcommand", "renewcommand", "hypersetup", "documentclass",
    "addcontentsline", "nocite", "vskip", "hskip", "cmidrule", "cline", "title", "author", "date", "setlength", "addtolength",
    "providecommand", "newenvironment", "graphicspath", "color", "rule", "fontsize", "phantom", "hphantom", "vphantom",
    "renewenvironment", "definecolor", "newtheorem", "hyphenation", "DeclareMathOperator", "geometry", "linespread",
    "selectlanguage", "pagenumbering",
}  # fmt: skip
_ARGUMENTS = {  # of commands with several: those in front of the text, or of a hidden one all but the first
    **dict.fromkeys(("textcolor", "colorbox", "parbox", "raisebox", "foreignlanguage", "scalebox", "rotatebox", "hyperref"), 1),
    **dict.fromkeys(("multicolumn", "multirow", "fcolorbox", "resizebox"), 2),
    **dict.fromkeys(("setcounter", "newcommand", "renewcommand", "setlength", "addtolength", "addcontentsline"), 1),
    **dict.fromkeys(("providecommand", "rule", "fontsize", "DeclareMathOperator", "newtheorem"), 1),
    "definecolor": 2,
    "newenvironment": 2,
    "renewenvironment": 2,
}
_DEFINED = re.compile(
    r"\\(?:(?:re)?newcommand|providecommand|[eg]?def)\*?\s*\{?\s*\\([A-Za-z]+)\s*\}?(?:\[(\d)\])?(?:\[([^\]]*)\])?\s*(?=\{)"
)
_OPTION = re.compile(r"\[([^\[\]]*)\]")
_PARAMETER = re.compile("#([1-9])")
_MOST_EXPANDED = 2**24  # characters
_DEEPEST = 20
_COMMAND = re.compile(r"\\([A-Za-z]+)\*?[ \t]*((?:\[[^\[\]]*\][ \t]*)*)")
_BRACES = r"\{((?:[^{}]|\{[^{}]*\})*)\}"
_ENVIRONMENT = re.compile(rf"\\(begin|end)\{{([A-Za-z]+)\*?\}}(?:\[([^\]]*)\])?(?:{_BRACES})?(?:{_BRACES})*")
_TITLED = {"frame", "block", "alertblock", "exampleblock"}
_NAMED = {"theorem", "lemma", "proposition", "corollary", "definition", "example", "remark", "proof"}
_ITEM = re.compile(r"\\item(?![A-Za-z])\s*(?:<[^<>]*>)?(?:\s*\[([^\[\]]*)\])?[ \t]*")
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
    source = _ADDRESS.sub(lambda match: f"{match[1]}{{{keep(match[2])}}}", source)
    source, macros = _without_definitions(_HIDDEN_BLOCK.sub("", _COMMENT.sub(r"\1", source)))
    facts = {name: _plain(_expanded(found, macros)) for name in ("title", "author") if (found := _argument_of(source, name))}
    _, begin, body = source.partition("\\begin{document}")
    text = (body if begin else source).partition("\\end{document}")[0]
    text = _MATH.sub(lambda match: keep(match[0]), text)
    text = _plain(_expanded(text, macros))
    while _KEPT_AT.search(text):
        text = _KEPT_AT.sub(lambda match: kept[int(match[1])], text)
    text = re.sub(r"[ \t]+\n", "\n", text)
    title = facts.pop("title", None)
    return Page(re.sub(r"\n{3,}", "\n\n", text).strip(), title=title, metadata=facts)


def _argument_of(source: str, command: str) -> str | None:
    match = re.search(rf"\\{command}(?:\[[^\]]*\])?\s*\{{", source)
    return _group(source, match.end() - 1)[0] if match else None


@dataclass(frozen=True, slots=True)
class _Macro:
    """A command that a file defines: the number of its arguments, the default of the first if that is optional, and its text."""

    arguments: int
    default: str | None
    text: str


def _without_definitions(source: str) -> tuple[str, dict[str, _Macro]]:
    """Return a source without the commands it defines, and these by name."""
    macros: dict[str, _Macro] = {}
    parts = []
    at = 0
    while match := _DEFINED.search(source, at):
        parts.append(source[at : match.start()])
        text, at = _group(source, match.end())
        if match[1] not in {*_LEVELS, *_SIGNS, *_HIDDEN, *_WRITTEN, "begin", "end", "item"}:
            macros[match[1]] = _Macro(int(match[2] or 0), match[3], text)
    return "".join([*parts, source[at:]]), macros


def _expanded(text: str, macros: Mapping[str, _Macro]) -> str:
    """Return a text with the commands that the file defines replaced by what they stand for, unless that is without end."""
    if not macros:
        return text
    used = re.compile(rf"\\({'|'.join(macros)})(?![A-Za-z])[ \t]*")
    left = _MOST_EXPANDED
    for _ in range(_DEEPEST):
        parts = []
        at = 0
        while left > 0 and (match := used.search(text, at)):
            written, end = _written_out(text, match.end(), macros[match[1]])
            parts += [text[at : match.start()], written]
            left -= len(written)
            at = end
        if not parts:
            break
        text = "".join([*parts, text[at:]])
    return text


def _written_out(text: str, at: int, macro: _Macro) -> tuple[str, int]:
    """Return what a command stands for whose arguments begin at an offset, and the offset behind them."""
    arguments = []
    if macro.default is not None:
        given = _OPTION.match(text, at)
        arguments.append(given[1] if given else macro.default)
        at = given.end() if given else at
    while len(arguments) < macro.arguments:
        argument, at = _group(text, at) if text[at : at + 1] == "{" else (text[at : at + 1], at + 1)
        arguments.append(argument)
    if not macro.arguments and text[at : at + 2] == "{}":
        at += 2
    return _PARAMETER.sub(lambda number: "".join(arguments[int(number[1]) - 1 : int(number[1])]), macro.text), at


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
    text = _ITEM.sub(lambda item: f"\n- {item[1]} " if item[1] else "\n- ", _ENVIRONMENT.sub(_environment, text))
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
            for _ in range(_ARGUMENTS.get(name, 0)):
                argument, at = _group(text, at) if text[at : at + 1] == "{" else (argument, at)
            if name in _LEVELS:
                parts.append(f"\n\n{'#' * _LEVELS[name]} {' '.join(_plain(argument).split())}\n\n")
            elif name == "href" and text[at : at + 1] == "{":
                label, at = _group(text, at)
                parts.append(f"[{_plain(label)}]({argument})")
            elif name not in _HIDDEN:
                parts.append(_WRITTEN.get(name, str)(_plain(argument)))
                parts.append(" " if text[at : at + 1] == "{" else "")  # another argument
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


def _environment(match: re.Match[str]) -> str:
    """Return what stands at the begin or end of an environment: the title of a frame, the name of a theorem, or a line end."""
    kind, name, option, argument, _ = match.groups()
    if kind == "begin" and name in _TITLED and argument:
        return f"\n\n\\frametitle{{{argument}}}\n\n"
    return f"\n\n{name.title()} ({option}).\n" if kind == "begin" and name in _NAMED and option else "\n"


def _typeset(text: str) -> str:
    text = re.sub(r"\\([%&_#${}])", r"\1", re.sub(r"(?<!\\)[{}]", "", text))
    text = re.sub(r"\\[,;:! ]", " ", text).replace("\\-", "").replace("\\/", "")
    for written, sign in (("---", "—"), ("``", "“"), ("''", "”")):
        text = text.replace(written, sign)
    return re.sub(r"(?<=\w)--(?=\w)", "–", text)


def _accented(match: re.Match[str]) -> str:
    letter = (match[2] or match[3]).lstrip("\\")
    return unicodedata.normalize("NFC", letter + _COMBINING[match[1]])
