"""Vectors to Parquet on one machine, and into Qdrant from there on another.

runtime    `ExportRuntime`: embed and load                 directory  the files of an export, checked
shards     points ⇄ Parquet                                index      where each document lies in them
"""
