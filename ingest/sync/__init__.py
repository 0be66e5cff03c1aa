"""Making a collection equal to its sources.

job          the loop                                      pipeline     one source, read to its end
plan         what one document needs: pure                 fingerprints what a stored point was made from: pure
reading      documents in, planned windows out             prefetch     … made ahead, on another thread
effects      vectors → what to write: pure                 sizing       how much a window holds
manifest     agreement with what the collection was made with            ownership    which collections may be changed
acceptance   stored vectors accepted for another fingerprint             sources      the check of a job's sources
deletion     documents missing from their source           settling     what becomes of them at the end
moving       taking points along from a source's former name             stored_sources  what is stored of which source
run_state    what a run must remember, on disk             account      the receipt
preview      what the loop would do                        rates        how fast models were
rejects      the rejects file
"""
