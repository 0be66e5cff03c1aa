"""Comparing what is stored with its sources, and repairing it.

verification  `verify_job`: plan as a run would, report what differs, repair it
inspection    reading every stored point                   damage  what can be wrong with one: pure
"""
