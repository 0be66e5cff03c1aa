"""A Qdrant server over REST or gRPC.

store        `ServerStore`: points                         collections  collections, manifests, aliases, indexes
connection   opening and checking a connection             address      URLs, proxies, and where a key may travel: pure
protocol     what speaks at a port that is no Qdrant       errors       the client's errors → ours
settings     what a reindex takes over                     messages     points as gRPC carries them
wire         our records ⇄ the client's
"""
