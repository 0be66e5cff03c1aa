"""Compare a collection with its sources and repair it.

verification  `verify_job`: plan like a run, report the differences, repair them
inspection    read every stored point                      damage  what can be wrong with one point: pure
"""
