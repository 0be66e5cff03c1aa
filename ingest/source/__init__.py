"""Documents in. `open_source` says what a location is; all else follows from there.

open          location → source
files         one file, standard input, folders and globs       sql    rows of a database
tables        JSON Lines, CSV, TSV, Parquet → records           kinds  suffix → format
fields        record → document, or why not
conversion    file → document: HTML, office documents, titles
streams       bytes from any file system, decompressed
chunking      documents → chunks that fit every model           splitting  where a text may be cut
"""

from ingest.source.fields import FieldMap
from ingest.source.open import open_source

__all__ = ["FieldMap", "open_source"]
