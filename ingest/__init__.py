"""Keeps Qdrant collections equal to documents, in several vector spaces at once."""
