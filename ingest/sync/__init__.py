"""Making a collection equal to its sources.

plan            what one document needs: pure           fingerprints   what a stored point was made from: pure
reading         documents in, planned windows out       prefetch       … made ahead, on another thread
effects         vectors → what to write: pure           manifest       agreement with what the collection was made with
job             the loop                                preview        what the loop would do
deletion        what is gone, and the brake             spool          what must be remembered, on disk
rejects         the rejects file
"""
