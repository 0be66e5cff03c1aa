"""Models computed by OpenVINO on the CPU.

model        a model of the ensemble as OpenVINO computes it     reranker     a cross-encoder, likewise
choice       torch or OpenVINO, and in which precision: pure     conversion   from a torch module to OpenVINO
calibration  texts to calibrate and compare with: pure           cache        where converted models are kept
ahead        conversion before a run needs it
"""
