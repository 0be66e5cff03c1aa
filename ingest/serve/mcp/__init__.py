"""Search for language models, by the Model Context Protocol. Every tool is one call of `Collection`.

results  what tools return, and how long it may be
tools    the tools
server   the tools and the documents as a server of the official SDK
http     that server under `/mcp` of `ingest serve`
"""
