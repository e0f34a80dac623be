"""A linear probe: logistic regression on the base's last hidden state at an answer's last token; no adapter.

The hidden state is what the output embedding reads (after the last norm). Features are standardised on the training
answers; C is chosen from `CS` by cross-validation within them, by questions (5 folds, mean log-loss). The score is the
log-odds of being right. Without training answers all scores are ties.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from likra.data.tokens import TokenizedExample
from likra.lab.rival import Method, Rival, rival
from likra.lab.rivals._reading import table_of
from likra.lab.runner.jobs import Note
from likra.lab.runner.task import NEGATIVE, POSITIVE, Task, seed_folder, table_path
from likra.scoring.likelihoods import Floats, Likelihoods

if TYPE_CHECKING:
    from likra.models.base import Base

CS = tuple(10.0**power for power in range(-4, 3))
FOLDS = 5


@rival("probe")
class Probe(Rival):
    # The base reads the training answers once, forward.
    methods = (Method("probe", "Linear probe", training=1, answers="both", normalised=False),)
    job = "seeds"  # the test answers' hidden states serve all seeds

    def run(self, settings: dict[str, Any], folder: Path, note: Note) -> None:
        """Fit a probe for each seed and size."""
        from likra.lab.runner.learning import tokenized

        task, sizes, seeds = Task.of(settings), settings["sizes"], settings["seeds"]
        base = task.base()
        known: dict[tuple[int, ...], Floats] = {}
        for done, seed in enumerate(seeds):
            note(done, len(seeds))
            place = seed_folder(folder, seeds, seed)
            questions = task.drawn(sizes[-1], seed)
            right, wrong = (
                tokenized(base, task.examples(head, questions, seed, place)) for head in (POSITIVE, NEGATIVE)
            )
            answers = [pair for good, bad in zip(right, wrong, strict=True) for pair in (*good, *bad)]
            states_ND = states(base, answers, known)
            for size in sizes:
                if table_path(place, "own", size).exists():
                    continue
                probe = fitted(states_ND[: 2 * size])
                table = table_of(task, "probe", lambda pairs, probe=probe: probe(states(base, pairs, known)))  # type: ignore[misc]
                table.save(table_path(place, "own", size))

    def scores(self, folder: Path, size: int, pair: Likelihoods) -> dict[str, Floats]:
        return {"probe": Likelihoods.load(table_path(folder, "own", size)).head("probe")}


def fitted(states_ND: Floats) -> Any:
    """Gives log-odds [P] of hidden states [P, D]; fitted to those of a right and a wrong answer in turn."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, GroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    questions = len(states_ND) // 2
    if questions == 0:
        return lambda states_PD: np.zeros(len(states_PD))
    right_N, question_N = np.tile([1, 0], questions), np.repeat(np.arange(questions), 2)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    if questions > 1:
        folds = GroupKFold(min(FOLDS, questions))
        model = GridSearchCV(model, {"logisticregression__C": CS}, cv=folds, scoring="neg_log_loss")
        model.fit(states_ND, right_N, groups=question_N)
    else:
        model.fit(states_ND, right_N)
    return model.decision_function


def states(base: "Base", pairs: Sequence[TokenizedExample], known: dict[tuple[int, ...], Floats]) -> Floats:
    """Hidden states [P, D] at the last token of each pair's completion, in at least float32.

    Args:
        base: The base; it reads every sequence whole.
        pairs: The pairs. One that is longer than the model can read loses tokens from its left.
        known: Those that were read before, by their tokens; what is read is added.
    """
    from likra.engine.hidden_states import hidden_states

    sequences = [(pair.context + pair.completion)[-base.max_length :] for pair in pairs]
    if missing := sorted({ids for ids in sequences if ids not in known}):
        known |= dict(zip(missing, hidden_states(base, missing), strict=True))
    return np.stack([known[ids] for ids in sequences])
