"""Formulas of Office files (OMML) on one line: `(a)/(b)`, `x^(2)`, `x_(i)`, `∑_(i)^(n) x`."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from ingest.source.convert.archives import attribute, child, local

_PROPERTIES = "Pr"
_ROWS = {"m": ("mr", "; "), "mr": ("e", ", "), "eqArr": ("e", "; ")}


def formula(element: Element) -> str:  # noqa: C901, PLR0911  one branch a kind of element
    """Return a formula, or a part of one, as text."""
    name = local(element)
    if name == "t":
        return element.text or ""
    if name.endswith(_PROPERTIES):
        return ""
    parts = {local(each): formula(each) for each in element}
    if name == "f":
        return f"({parts.get('num', '')})/({parts.get('den', '')})"
    if name in {"sSup", "sSub", "sSubSup", "sPre"}:
        return parts.get("e", "") + _scripts(parts)
    if name == "nary":
        return f"{_sign(element, 'chr', '∫')}{_scripts(parts)} {parts.get('e', '')}"
    if name == "rad":
        return f"√{parts.get('deg', '')}({parts.get('e', '')})"
    if name == "d":
        inside = _sign(element, "sepChr", "|").join(_each(element, "e"))
        return f"{_sign(element, 'begChr', '(')}{inside}{_sign(element, 'endChr', ')')}"
    if name == "func":
        return f" {parts.get('fName', '')} {parts.get('e', '')}"
    if name in _ROWS:
        part, sign = _ROWS[name]
        return sign.join(_each(element, part))
    if name in {"limLow", "limUpp"}:
        return f"{parts.get('e', '')}_({parts.get('lim', '')})"
    if name == "acc":
        return f"{parts.get('e', '')}{_sign(element, 'chr', chr(0x302))}"
    return "".join(formula(each) for each in element)


def _scripts(parts: dict[str, str]) -> str:
    low, high = parts.get("sub"), parts.get("sup")
    return (f"_({low})" if low else "") + (f"^({high})" if high else "")


def _each(element: Element, name: str) -> list[str]:
    return [formula(each) for each in element if local(each) == name]


def _sign(element: Element, name: str, default: str) -> str:
    stated = child(element, f"{local(element)}Pr", name)
    return default if stated is None else attribute(stated, "val") or ""
