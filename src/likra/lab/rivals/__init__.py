"""The rivals, one module each. To add one, add a module with a class under `@rival(NAME)`."""

ORDER = (
    "pmi",
    "contrast",
    "probe",
    "verifier",
    "unlikelihood",
    "merged",
    "dpo",
    "nca",
    "kto",
    "reward",
    "listwise",
    "joint",
)
