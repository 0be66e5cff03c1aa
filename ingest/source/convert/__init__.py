"""From a file to one document: decoded, converted to Markdown if it has markup, with its title. One module per family of formats.

text      plain text, Markdown, source code       html          web pages
word      Word documents                          slides        PowerPoint presentations
sheets    Excel workbooks                         opendocument  OpenDocument text, sheets and slides
pdf       PDF                                     rtf           Rich Text Format
mail      messages and mailboxes                  outlook       Outlook messages
book      e-books
notebook  Jupyter notebooks                       subtitles     subtitles
latex     LaTeX                                   plain_markup  reStructuredText, Org, AsciiDoc
xml       XML documents

registry  format → converter                      isolation     conversions in worker processes (worker)
archives  ZIP archives of XML, within bounds      markup        blocks of Office files → HTML
"""

from ingest.source.convert.registry import check_format, document_from_file, is_converted_apart, is_text

__all__ = ["check_format", "document_from_file", "is_converted_apart", "is_text"]
