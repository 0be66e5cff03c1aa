"""Adapters for frameworks. Each is one module and one extra; none is imported unless you import it.

A retriever calls `search` of a `Collection` or a `Searcher` and returns the hits as documents of its framework. A source takes
documents of a framework to `Collection.sync`.

langchain    a retriever, and a source of what a document loader loads
llamaindex   a retriever, and a source of what a reader loads
haystack     a retriever component, and a source of what converters return
exchange     what the adapters share: hits as metadata, documents as records
"""
