"""Forms in PDF files: what is filled in, below the text of its page."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from typing import Any


def filled_fields(page: Any) -> Iterator[str]:
    """Yield what a page of a form has in its fields: `name: value`, and for a box `name: ☒` or `name: ☐`.

    The name is the one for readers, if the field has it. Fields without a value, buttons and passwords are left out.
    """
    import pypdfium2.raw as pdfium  # type: ignore[import-untyped]  # noqa: PLC0415  an extra

    form = page.formenv
    if form is None:
        return
    texts = {pdfium.FPDF_FORMFIELD_TEXTFIELD, pdfium.FPDF_FORMFIELD_COMBOBOX, pdfium.FPDF_FORMFIELD_LISTBOX}
    for index in range(pdfium.FPDFPage_GetAnnotCount(page)):
        annotation = pdfium.FPDFPage_GetAnnot(page, index)
        if not annotation:
            continue
        kind = pdfium.FPDFAnnot_GetFormFieldType(form, annotation)
        flags = pdfium.FPDFAnnot_GetFormFieldFlags(form, annotation)
        name = _text(pdfium.FPDFAnnot_GetFormFieldAlternateName, form, annotation)
        name = name or _text(pdfium.FPDFAnnot_GetFormFieldName, form, annotation)
        value = ""
        if kind in texts and not flags & pdfium.FPDF_FORMFLAG_TEXT_PASSWORD:
            value = _text(pdfium.FPDFAnnot_GetFormFieldValue, form, annotation)
        elif kind == pdfium.FPDF_FORMFIELD_CHECKBOX:
            value = "☒" if pdfium.FPDFAnnot_IsChecked(form, annotation) else "☐"
        elif kind == pdfium.FPDF_FORMFIELD_RADIOBUTTON and pdfium.FPDFAnnot_IsChecked(form, annotation):
            value = _text(pdfium.FPDFAnnot_GetFormFieldExportValue, form, annotation) or "☒"
        pdfium.FPDFPage_CloseAnnot(annotation)
        if value.strip():
            yield f"{name}: {value}" if name else value


def _text(read: Callable[..., int], form: Any, annotation: Any) -> str:
    """Return a text of a field on one line."""
    size = read(form, annotation, None, 0)
    buffer = ctypes.create_string_buffer(size)
    read(form, annotation, ctypes.cast(buffer, ctypes.POINTER(ctypes.c_ushort)), size)
    return " ".join(buffer.raw.decode("utf-16-le", errors="replace").rstrip("\0").split())
