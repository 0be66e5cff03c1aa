"""Export and load: vectors are written to Parquet on one machine, and loaded into Qdrant on another.

runtime    `ExportRuntime`: embed and load                 directory  the files and checksums of an export
shards     points ⇄ Parquet                                index      the shard of each document
"""
