"""Making a collection again with other models beside itself, and swapping it in.

reindex  build, check, swap, roll back, clean up          rebuild  one collection's points from another's
"""
