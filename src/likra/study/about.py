"""What the studies are. Light, for the command line to know them before it needs a model."""

#: Study -> what it shows; the words are the command line's too.
STUDIES: dict[str, str] = {
    "curve": "Figures 1 and 3: SFT, Base-Likra, Likra against size; the jump; the worth of a negative in positives.",
    "models": "Table 1: several base models, several benchmarks.",
    "likelihoods": "Figures 2 and 6: log-likelihood of right and wrong answers under each head, as training goes on.",
    "weights": "Figure 4: accuracy against the weight of the negative head, 0 to 1.5.",
    "negatives": "Figure 5: incorrect, irrelevant, unrelated, all, and mined negatives.",
    "rivals": "Base, SFT, PMI, DPO, NCA, KTO, unlikelihood, a reward head, merged weights, Likra on the same answers.",
    "distractors": "Near-miss or random negatives in training against near-miss or random distractors in the test.",
    "coverage": "The gain by groups of questions (field `group`), and on further models as controls.",
    "scaling": "Accuracy gained per unit of extra compute over a ladder of models, against taking a larger base.",
    "mechanism": "What changes in the model at the jump: the heads' updates, hidden states, what can stand in for it.",
    "calibration": "How sure is sure: calibration error before and after; answering only when sure.",
    "generation": "How often written answers are true: base, SFT, both heads together, merged, distilled, best of 16.",
    "paraphrase": "Whether the ratio leans on surface words: test answers reworded.",
}
