"""Text to vectors: an ensemble of models, one at a time on the device.

registry      which models there are and what is true of them; `EnsembleConfig`
model_config  the record of one model, and the user's own
check         loads one model and compares it with the registry
resolve       where a model's files are, and how to get them
models        `ModelManager`: from keys to members that wait for their turn
dense, sparse, attention, onnx   the members; torch_model is what those computed by torch share
tokens        counting what a text costs a model
vectors       the border: what a model made is of the right shape and finite, or it goes no further
lease         the exclusive right to a device, host-wide; holder is the note of who has it, devices what there is
batching      which texts go together, and how many fit
runner        `BatchRunner`: passes over windows
combining     texts of several threads in one call
embedder      vectors of texts that belong to no collection
"""
