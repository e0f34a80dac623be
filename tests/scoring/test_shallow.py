"""The shallow control against a scikit-learn pipeline that is written out here, and where it must see nothing."""

import numpy as np
import pytest
from scipy.sparse import hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from likra.data import Question
from likra.errors import InputError
from likra.scoring.shallow import shallow_scores

RIGHT = ["surely cello", "Rome, of course", "an owl", "the cello "]
WRONG = ["perhaps harp", "perhaps Oslo", "perhaps a goat", "harp", "perhaps tin", "Oslo"]


def test_it_is_a_logistic_regression_of_words_and_letters() -> None:
    questions = [Question("1", "Which?", ("perhaps cello", "surely harp", "an owl")), Question("2", "?", ("tin", "x"))]
    found = shallow_scores(RIGHT, WRONG, questions)
    words = TfidfVectorizer(token_pattern=r"\S+", ngram_range=(1, 2))
    letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5))
    texts = [text.strip() for text in RIGHT + WRONG]
    seen = hstack([words.fit_transform(texts), letters.fit_transform(texts)])
    model = LogisticRegression(max_iter=1000, class_weight="balanced").fit(seen, [1] * 4 + [0] * 6)
    for row, question in enumerate(questions):
        features = hstack([words.transform(question.choices), letters.transform(question.choices)])
        count = len(question.choices)
        np.testing.assert_allclose(found[row, :count], model.decision_function(features), atol=1e-9)
        assert np.isnan(found[row, count:]).all()
    assert found[0, 1] > found[0, 0]  # "perhaps" is a wrong answer's word


def test_it_reads_no_question_and_no_order_of_choices() -> None:
    one = Question("1", "Which instrument?", ("perhaps cello", "surely harp"))
    other = Question("2", "Something else", one.choices[::-1])
    found = shallow_scores(RIGHT, WRONG, [one, other])
    assert found[0].tolist() == found[1, ::-1].tolist()


def test_it_needs_both_kinds_of_answers() -> None:
    for right, wrong in (([], WRONG), (RIGHT, [])):
        with pytest.raises(InputError, match="there are none of one kind"):
            shallow_scores(right, wrong, [Question("1", "?", ("a", "b"))])
