"""Reading each distinct token once: prefix trees of tokens, and the attention that reads them packed.

| file | |
|---|---|
| `loglikelihood` | `score`: the table of a run; its `cache` on disk |
| `reader` | one protocol for scoring and training; `packed` and `padded` implement it |
| `batch` | what adapters read and predict |
| `tree`, `plan`, `layout` | the prefix tree, what one pass reads of it, who attends to what |
| `attention` | the attention of packed tokens, with a KV cache; `prefix_cache`: that of shared prefixes |
| `kernels`, `transfer` | which attention kernels a device has; from the host to a device without waiting |
| `forward` | forward passes with logits only where they are needed |
| `memory` | how many tokens fit the memory, and what is done when it runs out |
| `probe` | the trial that tells whether a model can be read packed |
| `finite` | where numbers that are not finite come from |
"""
