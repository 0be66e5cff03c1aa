"""Syncing a collection with its sources.

job             the parameters of a job                 run             what all runs share, from check to receipt
pipeline        one source, read to its end             reading         documents → planned windows
plan            the plan of one document: pure          fingerprints    fingerprints of stored points: pure
prefetch        windows made ahead, on a thread         effects         vectors → writes: pure
sizing          the size of windows                     deletion        documents missing from their source
manifest        the manifest and its drift              ownership       collections that may be changed
sources         the check of a job's sources            stored_sources  the sources of a collection
moving          renaming a source                       run_state       the state of a run, on disk
account         the tally and the receipt               preview         what a run would do
rates           measured rates of models                rejects         the rejects file
cancellation    stopping a run                          versions        documents that need not be read
record_files    files of records that need not be read
"""
