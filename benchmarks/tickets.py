"""`likra tune` on 60 invented tickets for five teams: what it says, and what comes true on fresh ones.

    python benchmarks/tickets.py --model SmolLM2-135M-Instruct.Q4_1.gguf --seeds 3

For each seed: 60 tickets are tuned on; then all methods of its table (but PMI), trained on all 60 at the settings that
it chose, are judged on fresh tickets.
"""

import argparse
import dataclasses
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from examples.tickets import TEAMS, tickets

from likra import Likra, Question, TrainingConfig, load_base
from likra.data import Prompter
from likra.engine.hidden_states import hidden_states
from likra.engine.loglikelihood import encode_question
from likra.scoring import Evaluation
from likra.scoring.accuracy import accuracy, credit
from likra.scoring.text_classifier import classifier_scores, tfidf_scores
from likra.scoring.tuning import title_of
from likra.training.fit import Run
from likra.tuning import ADAPT, tune
from likra.utils.runtime import QUIET

ASKED = "Which team does this support ticket go to?"


def questions(count: int, seed: int) -> list[Question]:
    """Tickets as questions whose choices are the teams."""
    teams = tuple(TEAMS)
    found = tickets(count, seed)
    return [
        Question(f"{seed} {n}", f"{ASKED}\n{text}", teams, teams.index(team)) for n, (text, team) in enumerate(found)
    ]


def main() -> None:
    """Tune and judge, seed by seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="world")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--records", type=int, default=60)
    parser.add_argument("--fresh", type=int, default=2000)
    parser.add_argument("--adapt", default=ADAPT)
    asked = parser.parse_args()
    base = load_base(asked.model, dtype="float32")
    for seed in range(asked.seeds):
        records, fresh = questions(asked.records, seed), questions(asked.fresh, 1000 + seed)
        start = time.perf_counter()
        config = TrainingConfig(adapt=asked.adapt, seed=seed)
        likra, found = tune(base, records, training_config=config, run=Run(runtime=QUIET))
        took = time.perf_counter() - start
        print(f"seed {seed}: tuned in {took:.0f} s", flush=True)
        for sentence in found.conclusion:
            print(f"  {sentence}")
        likra.trained.remove()
        true = judged(base, config, found, records, fresh)
        honest, came = found.honest, true[found.method]
        held = "holds it" if honest.low <= came <= honest.high else "does not hold it"
        print(f"  expected {honest.value:.3f} ({honest.low:.3f} to {honest.high:.3f}), fresh {came:.3f}: {held}")
        print(f"  | method | by the folds | on {asked.fresh} fresh tickets |\n  |---|---|---|", flush=True)
        for method, value in found.rows.items():
            told = f"{value.value:.3f} ({value.low:.3f}-{value.high:.3f})"
            print(f"  | {title_of(method)} | {told} | {f'{true[method]:.3f}' if method in true else ''} |")
        print(f"  taken: {100 * (max(true.values()) - came):.1f} points below the best of these", flush=True)


def judged(base, config, found, records, fresh):  # type: ignore[no-untyped-def]
    """method -> accuracy on fresh tickets, trained on all records."""
    true = {}
    answers_Q = np.array([question.answer for question in fresh])
    true["tfidf"] = accuracy(credit(tfidf_scores(records, fresh), answers_Q)).value
    read = [
        hidden_states(base, [encode_question(base, q, Prompter("qa"))[0].context for q in some], mean=True)
        for some in (records, fresh)
    ]
    true["hidden"] = accuracy(credit(classifier_scores(records, fresh, *read, scaled=True), answers_Q)).value
    settings = {method: found.found.chosen[method].setting for method in ("sft", "base_likra", "likra")}
    for recipe in {setting.recipe for setting in settings.values()}:
        pair = Likra.from_base(base, training_config=dataclasses.replace(config, **vars(recipe)))
        table = pair.fit(records, runtime=QUIET).likelihoods(fresh, runtime=QUIET)
        pair.trained.remove()
        for method, setting in settings.items():
            if setting.recipe == recipe:
                own = Evaluation(table, weight=setting.weight or 0.0, normalization=setting.normalization)
                true[method], true["base"] = own.methods[method].value, own.methods["base"].value
    return true


if __name__ == "__main__":
    main()
