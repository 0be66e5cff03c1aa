"""Remote models: dense, sparse and reranking models behind an HTTP endpoint. They lease no device."""
