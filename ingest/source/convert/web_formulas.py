"""Formulas of web pages (MathML, and TeX in scripts): what position and size tell in a browser becomes signs."""

from __future__ import annotations

from selectolax.lexbor import LexborHTMLParser, LexborNode

_TEX = "script[type^='math/tex']"
_SECOND = ".katex-html, .MathJax_Preview, .MathJax_SVG, img.mwe-math-fallback-image-inline, img.mwe-math-fallback-image-display"
_SCRIPTS = {"msub": ("_",), "munder": ("_",), "mover": ("^",), "msubsup": ("_", "^"), "munderover": ("_", "^")}


def repair_formulas(tree: LexborHTMLParser) -> None:
    """Mark indices, limits, roots and cells of matrices, show TeX in scripts, and leave out what shows a formula again.

    `html_to_markdown` marks fractions and powers itself.
    """
    for node in tree.css(_SECOND):
        node.decompose()
    for node in tree.css(_TEX):
        node.replace_with(f"${node.text().strip()}$")
    for selector, sign in (("mtd", ", "), ("mtr", "; ")):
        for node in tree.css(selector):
            if node.next is not None:
                node.insert_after(sign)
    for name, signs in _SCRIPTS.items():
        for node in tree.css(name):
            for part, sign in zip(list(node.iter())[1:], signs, strict=False):
                _bracket(part, sign)
    _mark_roots(tree)


def _mark_roots(tree: LexborHTMLParser) -> None:
    for node in tree.css("msqrt, mroot"):
        parts = list(node.iter())
        if node.tag == "mroot" and len(parts) == 2:  # noqa: PLR2004  what is under the root, and its degree
            node.insert_before(parts[1].text())
            parts[1].decompose()
        _bracket(node, "√", always=True)


def _bracket(node: LexborNode, sign: str, *, always: bool = False) -> None:
    """Put a sign in front of a part of a formula, and brackets around it if it is longer than a letter."""
    long = always or len("".join(node.text().split())) > 1
    node.insert_before(f"{sign}(" if long else sign)
    if long:
        node.insert_after(")")
