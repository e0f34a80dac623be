"""The laboratory: the experiments of the paper and beyond it. It imports the library; the library never imports it."""
