"""The same job on many machines, by Ray: its sources in parts, each part read by the very pipeline that one machine has.

engine      the job: split, hand out, settle, account          connection   the only module that imports ray
worker      an actor that reads parts, one after another       coordinator      an actor that knows how the run stands
seen        which documents were seen, in shards, in actors    uploads      how many write at once: pure
retries     the account of a part whose worker died: pure      capacity     how many machines for how long: pure
"""
