"""The studies, one module each. To add one, add a module with a class under `@study(NAME)`."""

#: The order of reports; others come after these.
ORDER = (
    "curve",
    "models",
    "likelihoods",
    "weights",
    "negatives",
    "epochs",
    "controls",
    "rivals",
    "distractors",
    "coverage",
    "scaling",
    "mechanism",
    "calibration",
    "generation",
    "paraphrase",
)
