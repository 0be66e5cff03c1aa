"""Jobs on many machines, with Ray: sources are split into parts, and each part goes through the pipeline of a single machine.

engine      the job: split, distribute, delete, account        connection   the only module that imports ray
worker      an actor that reads one part after another         coordinator  an actor that tracks the progress of the run
seen        the documents seen, in shards: one actor each      uploads      how many requests may write at once: pure
retries     the account of a part whose worker died: pure      capacity     machines and hours a job needs: pure
"""
