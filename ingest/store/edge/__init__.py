"""The embedded engine: Qdrant in this process, on a directory.

store      `EdgeStore`                                    wire    our records ⇄ the engine's
directory  the files and locks of one collection          aliases names for collections, in one file
pages      returning memory to the system                 space   refusing writes that would fill the disk
"""
