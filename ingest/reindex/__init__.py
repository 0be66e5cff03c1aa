"""Rebuild a collection with other models beside itself, and swap it in.

reindex  build, check, swap, roll back, clean up          rebuild  make the points of one collection from another's
"""
