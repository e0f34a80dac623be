"""A saved folder of adapters, the files beside them, and the model card."""
