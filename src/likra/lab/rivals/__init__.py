"""The rivals, one module each. To add one, add a module with a class under `@rival(NAME)`."""

ORDER = ("pmi", "unlikelihood", "merged", "dpo", "nca", "kto", "reward")
