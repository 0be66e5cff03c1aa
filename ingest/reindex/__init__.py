"""Rebuild a collection with other models beside itself, and swap it in.

reindex   build, check, roll back                         rebuild      make the points of one collection from another's
swapping  swap and clean up                               filling      encode the vectors that its points lack
in_place  the same within one collection                  vector_sets  the manifest, step by step: pure
"""
