"""Sources of documents, and their chunks. `open_source` turns a location into a source.

open        location → source                                     inputs      argument of `Collection` → sources
files       one file, standard input, folders and globs           sql         rows of a database
memory      documents and mappings from Python                    partitions  a source in parts, for several processes
tables      JSON Lines, CSV, TSV, Parquet → records               formats     suffix → format
fields      record → document, or the reason for its rejection    sizes       bytes of a source
convert     file → document: HTML, office documents, titles
streams     bytes from any file system, decompressed            pieces      the files of a folder, read in order
versions    tokens that change with a file
chunking    documents → chunks that fit every model               splitting   borders at which a text may be cut
"""

from ingest.source.fields import FieldMap
from ingest.source.open import open_source

__all__ = ["FieldMap", "open_source"]
