"""Making a collection equal to its sources.

plan            what one document needs: pure           fingerprints   what a stored point was made from: pure
reading         documents in, planned windows out       prefetch       … made ahead, on another thread
effects         vectors → what to write: pure           manifest       agreement with what the collection was made with
job             the loop                                preview        what the loop would do
deletion        gone, tombstones, the brake             spool          what must be remembered, on disk
rejects         the rejects file                       verify         whether what is stored is what a run would have stored
damage          what can be wrong with a point: pure   inspection     … looked for in every stored point
export          encoding to files, and loading them     export_directory  what lies there, and whether it is whole
shards          points ⇄ Parquet                        export_index   where each document lies in them
reindex         a collection anew, and swapped      rebuilding     … made of another's points
acceptance      stored vectors taken for another model's
status          a job's lock and status file      schedule       when jobs run, and the loop
health          for whoever watches the daemon    rates          how fast models were
"""
