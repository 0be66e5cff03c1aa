"""Queries of BERTs, encoded with NumPy: a search from a shell needs no torch, whose import takes seconds.

encoder  the encoder of a model's queries     network  the network
shape    what a model's files say about its network
"""
