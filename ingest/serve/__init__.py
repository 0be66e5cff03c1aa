"""Search over HTTP, and in `mcp/` for language models. Every operation is a call of `Collection`; nothing here can search.

endpoint     one operation: route, documentation, handler; from a request to a response
openapi      the OpenAPI document of the operations
schemas      what requests and responses look like
constraints  constraints of requests beyond types
problems     errors → problem details (RFC 9457)
access       bearer tokens, and the names that a request may call this host
workers      the threads that answer, the queue in front of them, and the deadline
served       the collections that are served
turns        whose turn it is to write: a run of a job, or a client
collections  operations on collections
writes       operations that write and delete documents
models_api   embeddings and reranking for other programs
options      limits and permissions
observing    metrics
system       health, jobs, metrics, documentation
app          all of it as one ASGI application
server       the application on a port, until a signal ends it
socket_file  a second way in, beside an embedded store
client       asks the process that serves a store
"""
