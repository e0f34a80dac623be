"""The control that reads no question at all: how right an answer looks by its words and letters."""

from collections.abc import Sequence

import numpy as np

from likra.data.canonical import canonical
from likra.data.question import Question
from likra.errors import InputError
from likra.scoring.likelihoods import Floats


def shallow_scores(right: Sequence[str], wrong: Sequence[str], questions: Sequence[Question]) -> Floats:
    """[Q, C] log-odds that each choice is right, by a classifier of answers alone; NaN where there is no candidate.

    A logistic regression (scikit-learn's defaults, classes weighted alike) on TF-IDF of words, pairs of words, and two
    to five letters within words.

    Args:
        right, wrong: The answers that it learns from.
        questions: Whose choices it judges.

    Raises:
        InputError: There are no right or no wrong answers.

    >>> asked = Question("1", "Which gas?", ("surely argon", "oxygen"), 1)
    >>> scores = shallow_scores(["cello", "Rome"], ["surely harp", "surely Oslo"], [asked])
    >>> bool(scores[0, 1] > scores[0, 0])
    True
    """
    if not right or not wrong:
        raise InputError("the shallow control learns from right and wrong answers; there are none of one kind.")
    from sklearn.feature_extraction.text import TfidfVectorizer  # takes a second to load
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union

    features = make_union(
        TfidfVectorizer(token_pattern=r"\S+", ngram_range=(1, 2)),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5)),
    )
    classifier = make_pipeline(features, LogisticRegression(max_iter=1000, class_weight="balanced"))
    texts = [canonical(text) for text in (*right, *wrong)]
    classifier.fit(texts, [1] * len(right) + [0] * len(wrong))
    scores_QC = np.full((len(questions), max(len(question.choices) for question in questions)), np.nan)
    places = [(row, place) for row, question in enumerate(questions) for place in range(len(question.choices))]
    values = classifier.decision_function([canonical(questions[row].choices[place]) for row, place in places])
    scores_QC[tuple(np.array(places).T)] = values
    return scores_QC
