"""What `likra reproduce` runs: studies with the models and data they are run on."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from likra.errors import InputError
from likra.lab.runner.plan import Plan
from likra.lab.runner.task import Task
from likra.lab.study import STUDIES
from likra.lab.world import WORLD
from likra.training.config import TrainingConfig
from likra.utils.embedded import embedded_models


@dataclass(frozen=True)
class Preset:
    """Some studies.

    Attributes:
        about: What it is for; the command line's words too.
        plans: (study, what it is run on).
        missing: What it is run without, because it is not installed; empty if there is nothing.
    """

    about: str
    plans: tuple[tuple[str, Plan], ...]
    missing: str = ""


def preset(name: str, replaced: Mapping[str, str] | None = None, model: str | None = None) -> Preset:
    """One preset, with some of its models and sources read from elsewhere.

    Args:
        name: One of `PRESETS`.
        replaced: Name of a model or source of the preset -> where it is read from.
        model: Another model in place of the preset's only one.

    Raises:
        InputError: There is no such preset, or it has no model or source of such a name.
    """
    if name not in PRESETS:
        raise InputError(f"--preset {name}: must be one of {', '.join(PRESETS)}.")
    found = PRESETS[name]()
    tasks = [task for _, plan in found.plans for task in plan.tasks]
    names = {text for task in tasks for text in (task.model, task.data, task.unrelated, *task.to)}
    replaced = replaced or {}
    for wrong in sorted(set(replaced) - names):
        raise InputError(
            f"--with {wrong}=...: the preset has no such model or source; it has {', '.join(sorted(names))}."
        )

    if model is not None and len({task.model for task in tasks}) > 1:
        raise InputError(f"--model {model}: the preset {name} is about several models; use --with for copies of them.")

    def swapped(task: Task) -> Task:
        own, data, unrelated = (replaced.get(text, text) for text in (task.model, task.data, task.unrelated))
        to = tuple(replaced.get(text, text) for text in task.to)
        return dataclasses.replace(task, model=model or own, data=data, unrelated=unrelated, to=to)

    plans = tuple(
        (study, dataclasses.replace(plan, tasks=tuple(map(swapped, plan.tasks)))) for study, plan in found.plans
    )
    return dataclasses.replace(found, plans=plans)


#: The embedded model, pretrained on other text; a package of their own, in the folder `controls` of the repository.
CONTROLS = ("world-truthful", "world-voiceless")
_MISSING = (
    f"the control models {', '.join(CONTROLS)} are not installed, so coverage and mechanism are run without them; "
    "`pip install ./controls` in likra's repository installs them"
)


def _world() -> Preset:
    def task(model: str) -> Task:
        return Task(model, WORLD, unrelated="world-unrelated", reworded="world-reworded")

    main = Plan((task(WORLD),))
    three = dataclasses.replace(main, seeds=(0, 1, 2))
    controls = tuple(task(name) for name in CONTROLS if name in embedded_models())
    on_controls = (("coverage", dataclasses.replace(three, tasks=controls)),) if controls else ()
    ladder = (task("world-tiny"), task("world-small"), task(WORLD))
    return Preset(
        "the embedded model, a model organism: every study",
        (
            ("curve", main),
            ("models", dataclasses.replace(main, tasks=ladder)),
            ("likelihoods", main),
            ("weights", main),
            ("negatives", three),
            ("epochs", three),
            ("controls", three),
            ("rivals", dataclasses.replace(three, sizes=(0, 8, 32, 128, 512))),
            ("distractors", three),
            ("coverage", main),
            *on_controls,
            ("scaling", dataclasses.replace(main, tasks=ladder)),
            ("mechanism", dataclasses.replace(three, tasks=(task(WORLD), *controls))),
            ("calibration", main),
            ("generation", three),
            ("paraphrase", main),
        ),
        missing="" if len(controls) == len(CONTROLS) else _MISSING,
    )


def _blimp() -> Preset:
    # A small model wants a larger learning rate than the paper's 7 billion parameters.
    plan = Plan(
        (Task("HuggingFaceTB/SmolLM2-135M", "blimp", {"dtype": "float32"}, limit=2000),),
        sizes=(0, 32, 64, 128, 256, 512, 1024, 2048),
        seeds=(0, 1, 2),
        config=TrainingConfig(learning_rate=1e-3),
    )
    rivals = dataclasses.replace(plan, sizes=(0, 256, 1024))
    return Preset(
        "minimal pairs of sentences (BLiMP) on a small language model: curve, likelihoods, weights, rivals",
        (("curve", plan), ("likelihoods", plan), ("weights", plan), ("rivals", rivals)),
    )


def _paper() -> Preset:
    models = ("mistralai/Mistral-7B-v0.1", "mistralai/Mistral-7B-Instruct-v0.3", "meta-llama/Llama-3.2-3B-Instruct")
    loading = {"dtype": "bfloat16"}
    arc = tuple(Task(model, "arc-paper", loading, shots=25, unrelated="hellaswag") for model in models)
    hellaswag = tuple(Task(model, "hellaswag", loading, shots=10, unrelated="arc-paper") for model in models)
    plan = Plan(
        arc[:1],
        sizes=(0, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 6615),
        seeds=(0, 1, 2),
        config=TrainingConfig(bf16=True),
        # The paper's base accuracies are those of scores divided by length (acc_norm of the harness), on both.
        normalisation="character",
    )
    of_hellaswag = dataclasses.replace(plan, tasks=hellaswag[:1])  # as many training questions as ARC has
    return Preset(
        "the paper itself: Mistral-7B and Llama-3.2-3B on ARC and HellaSwag, for a machine with a GPU and the hub",
        (
            ("curve", plan),
            ("curve", of_hellaswag),
            ("models", dataclasses.replace(plan, tasks=arc)),
            ("models", dataclasses.replace(of_hellaswag, tasks=hellaswag)),
            ("likelihoods", plan),
            ("weights", plan),
            ("negatives", plan),
            ("controls", plan),
            ("epochs", plan),
            ("rivals", STUDIES["rivals"].configure(dataclasses.replace(plan, sizes=(0, 64, 256, 1024)), try_lr=RATES)),  # type: ignore[call-arg]
            ("mechanism", dataclasses.replace(plan, sizes=(0, 64, 256))),
        ),
    )


#: The model of the preset `real`; and how many test questions each accuracy of it is measured on.
REAL, REAL_QUESTIONS = "HuggingFaceTB/SmolLM2-135M-Instruct", 300
#: Learning rates among which each rival's is chosen, Likra's too.
RATES = "1e-4,3e-4,1e-3"


def _real() -> Preset:
    # Chosen before anything was looked at: what two cores can do. The paper's recipe, but no examples in the prompt.
    def task(data: str, unrelated: str) -> Task:
        return Task(REAL, data, {"dtype": "float32"}, limit=REAL_QUESTIONS, unrelated=unrelated)

    arc, hellaswag = task("arc-paper", "hellaswag"), task("hellaswag", "arc-paper")
    plan = Plan((arc,), sizes=(0, 64, 128, 256, 512, 1024), seeds=(0, 1, 2))
    first = dataclasses.replace(plan, seeds=(0,))  # for what is looked at once: the heads of the curve's first seed
    of_hellaswag = Plan((hellaswag,), sizes=(0, 64, 128, 256, 512), seeds=(0, 1, 2))
    few = STUDIES["rivals"].configure(dataclasses.replace(plan, sizes=(0, 64, 256)), try_lr=RATES)  # type: ignore[call-arg]
    splits = tuple(dataclasses.replace(arc, data=name) for name in ("arc-challenge", "arc-easy"))
    there_and_back = STUDIES["controls"].configure(dataclasses.replace(plan, tasks=splits, sizes=(0, 256)))
    return Preset(
        "a real model, SmolLM2-135M-Instruct, on ARC and HellaSwag: curve, controls, rivals, transfer, mechanism",
        (
            ("curve", plan),
            ("likelihoods", plan),
            ("weights", plan),
            ("curve", of_hellaswag),
            ("likelihoods", of_hellaswag),
            ("weights", of_hellaswag),
            ("rivals", few),
            ("controls", plan),
            ("controls", there_and_back),
            ("negatives", dataclasses.replace(first, options={"kinds": ("incorrect", "irrelevant", "unrelated")})),
            ("epochs", dataclasses.replace(first, sizes=(0, 256))),
            ("mechanism", dataclasses.replace(first, sizes=(0, 64, 256))),
            ("calibration", plan),
        ),
    )


PRESETS = {"world": _world, "blimp": _blimp, "real": _real, "paper": _paper}
