"""What needs no adapters: logistic regression on TF-IDF of words, or on a base's hidden states."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from likra.data.canonical import canonical
from likra.data.folds import shared_choices
from likra.data.question import Question
from likra.errors import InputError
from likra.scoring.likelihoods import Floats


def tfidf_scores(learned: Sequence[Question], judged: Sequence[Question]) -> Floats:
    """[Q, C] log-odds or log-probabilities of each choice, by what a practitioner would try first.

    Where all questions share their choices, these are classes, and a multinomial logistic regression reads the question
    (a text to classify). Elsewhere a binary one reads question and choice as one text, and says whether the choice is
    right. Features are TF-IDF of words and pairs of words; both are scikit-learn's defaults otherwise.

    Args:
        learned: Questions with known answers.
        judged: Those whose choices are scored.

    Raises:
        InputError: There is nothing to learn from.

    >>> asked = [Question("1", "my card was charged twice", ("billing", "login"), 0),
    ...          Question("2", "the password is not accepted", ("billing", "login"), 1)]
    >>> scores = tfidf_scores(asked, [Question("3", "charged the wrong card", ("billing", "login"))])
    >>> bool(scores[0, 0] > scores[0, 1])
    True
    """
    if shared_choices([*learned, *judged]) is None:

        def texts(questions: Sequence[Question]) -> list[str]:
            return [f"{question.transcript}\n{choice}" for question in questions for choice in question.choices]
    else:

        def texts(questions: Sequence[Question]) -> list[str]:
            return [question.transcript for question in questions]

    words = _words()
    return classifier_scores(learned, judged, words.fit_transform(texts(learned)), words.transform(texts(judged)))


def tfidf_lone(learned: Sequence[str], right: Sequence[bool], judged: Sequence[str]) -> Floats:
    """[N] log-odds that each text (a prompt with its completion) is right, by a binary logistic regression on TF-IDF.

    >>> found = tfidf_lone(["good work", "bad work"], [True, False], ["good idea", "bad idea"])
    >>> bool(found[0] > found[1])
    True
    """
    words = _words()
    fitted = _fitted(words.fit_transform(learned), list(right), "balanced", scaled=False)
    odds_N: Floats = fitted.decision_function(words.transform(judged))
    return odds_N


def _words() -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer  # takes a second to load

    return TfidfVectorizer(token_pattern=r"\S+", ngram_range=(1, 2))


def classifier_scores(
    learned: Sequence[Question], judged: Sequence[Question], learned_NF: Any, judged_NF: Any, *, scaled: bool = False
) -> Floats:
    """[Q, C] log-odds or log-probabilities of each choice, by logistic regression on some features.

    Args:
        learned: Questions with known answers.
        judged: Those whose choices are scored.
        learned_NF, judged_NF: Features, of each question where all questions share their choices, else of each choice
            of each question in turn; dense or sparse.
        scaled: Whether to standardise features, on those that are learned from.

    Raises:
        InputError: There is nothing to learn from.
    """
    if not learned or any(question.answer is None for question in learned):
        raise InputError("a classifier needs questions whose right answers are known.")
    scores_QC = np.full((len(judged), max(len(question.choices) for question in judged)), np.nan)
    if shared_choices([*learned, *judged]) is None:
        right = [
            canonical(choice) == canonical(question.choices[question.answer or 0])  # copies of it are right too
            for question in learned
            for choice in question.choices
        ]
        values = _fitted(learned_NF, right, "balanced", scaled).decision_function(judged_NF)
        places = [(row, place) for row, question in enumerate(judged) for place in range(len(question.choices))]
        scores_QC[tuple(np.array(places).T)] = values
        return scores_QC
    labels = [canonical(question.choices[question.answer or 0]) for question in learned]
    if len(set(labels)) == 1:  # nothing to tell apart: it always says the one that it knows
        probability_QK, found = np.ones((len(judged), 1)), labels[:1]
    else:
        fitted = _fitted(learned_NF, labels, None, scaled)
        probability_QK, found = fitted.predict_proba(judged_NF), list(fitted[-1].classes_)
    for row, question in enumerate(judged):
        for place, choice in enumerate(question.choices):
            name = canonical(choice)
            share = probability_QK[row, found.index(name)] if name in found else 0.0
            scores_QC[row, place] = np.log(max(share, np.finfo(float).tiny))
    return scores_QC


def _fitted(features_NF: Any, labels: Sequence[Any], class_weight: str | None, scaled: bool) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    steps = [StandardScaler()] if scaled else []
    return make_pipeline(*steps, LogisticRegression(max_iter=1000, class_weight=class_weight)).fit(features_NF, labels)
