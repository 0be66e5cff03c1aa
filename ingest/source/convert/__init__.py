"""From a file to one document: decoded, converted to Markdown if it has markup, with its title. One module per family of formats.

text      plain text, Markdown, source code
html      web pages
office    PDF and Office files
"""

from ingest.source.convert.office import check_office
from ingest.source.convert.registry import document_from_file

__all__ = ["check_office", "document_from_file"]
