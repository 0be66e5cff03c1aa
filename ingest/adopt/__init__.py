"""Adopt a collection that another tool made: build one of ours from its payloads, beside it. Nothing is written to it.

adoption   the whole: check, build, swap the alias, roll back      documents  its points → documents
vectors    its vectors → those of a model, after a comparison
"""
