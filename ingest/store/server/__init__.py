"""A Qdrant server over REST or gRPC.

store        `ServerStore`: points                         collections  collections, manifests, aliases, indexes
connection   opening and checking a connection             address      URLs, proxies, and where a key may be sent: pure
protocol     the protocol at a port that is not Qdrant's    errors       translation of the client's errors
settings     the settings that a reindex copies             wire         records ⇄ the client's models
messages     points and queries as gRPC messages            rest         queries and reads of points over REST
"""
