"""Rebuild a collection with other models beside itself, and swap it in.

reindex   build, check, swap, roll back, clean up          rebuild      make the points of one collection from another's
in_place  the same within one collection                  filling      encode the vectors that its points lack
                                                          vector_sets  the manifest, step by step: pure
"""
