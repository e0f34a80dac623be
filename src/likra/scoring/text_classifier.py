"""What needs no language model: logistic regression on TF-IDF of words."""

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
    known = [(question, question.answer) for question in learned if question.answer is not None]
    if not known:
        raise InputError("a classifier needs questions whose right answer is known.")
    scores_QC = np.full((len(judged), max(len(question.choices) for question in judged)), np.nan)
    classes = shared_choices([*(question for question, _ in known), *judged])
    if classes is None:
        texts = [(_joined(q, choice), place == answer) for q, answer in known for place, choice in enumerate(q.choices)]
        places = [(row, place) for row, question in enumerate(judged) for place in range(len(question.choices))]
        fitted = _fitted([text for text, _ in texts], [right for _, right in texts], "balanced")
        values = fitted.decision_function([_joined(judged[row], judged[row].choices[place]) for row, place in places])
        scores_QC[tuple(np.array(places).T)] = values
        return scores_QC
    labels = [canonical(question.choices[answer]) for question, answer in known]
    if len(set(labels)) == 1:  # nothing to tell apart: it always says the one that it knows
        probability_QK, found = np.ones((len(judged), 1)), labels[:1]
    else:
        fitted = _fitted([question.text for question, _ in known], labels, None)
        probability_QK, found = fitted.predict_proba([question.text for question in judged]), list(fitted.classes_)
    for row, question in enumerate(judged):
        for place, choice in enumerate(question.choices):
            name = canonical(choice)
            known_as = probability_QK[row, found.index(name)] if name in found else 0.0
            scores_QC[row, place] = np.log(max(known_as, np.finfo(float).tiny))
    return scores_QC


def _joined(question: Question, choice: str) -> str:
    return f"{question.text}\n{choice}"


def _fitted(texts: list[str], labels: list[Any], class_weight: str | None) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer  # takes a second to load
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    words = TfidfVectorizer(token_pattern=r"\S+", ngram_range=(1, 2))
    return make_pipeline(words, LogisticRegression(max_iter=1000, class_weight=class_weight)).fit(texts, labels)
