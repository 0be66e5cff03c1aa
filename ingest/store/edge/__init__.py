"""The embedded engine: Qdrant in this process, on a directory.

store        `EdgeStore`: points                          collections  collections, manifests, notes, indexes
directory    the files and the lock of one collection     aliases      the aliases, in one file
pages        releasing memory during a load               space        refusing writes that would fill the disk
wire         records ⇄ the engine's types
"""
