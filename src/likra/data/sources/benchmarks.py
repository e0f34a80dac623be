"""The benchmarks that have a name, and where the hub has them."""

from pathlib import Path

from likra.data.sources.collect import collect
from likra.data.sources.files import folder_records
from likra.data.sources.hub import hub_records
from likra.data.sources.source import Source
from likra.errors import InputError

#: Benchmarks on the hub: name -> the (repository, configuration) pairs that make it up.
HUB: dict[str, tuple[tuple[str, str | None], ...]] = {
    "arc-challenge": (("allenai/ai2_arc", "ARC-Challenge"),),
    "arc-easy": (("allenai/ai2_arc", "ARC-Easy"),),
    "arc-paper": (("allenai/ai2_arc", "ARC-Challenge"), ("allenai/ai2_arc", "ARC-Easy")),
    "hellaswag": (("Rowan/hellaswag", None),),
    "winogrande": (("allenai/winogrande", "winogrande_xl"),),
    "truthfulqa": (("truthfulqa/truthful_qa", "multiple_choice"),),
    "blimp": (("nyu-mll/blimp", "*"),),
}


def arc_paper(name: str) -> Source:
    """ARC as the paper splits it: 1,172 test questions of ARC-Challenge; everything else of ARC trains (6,615).

    `arc-paper` loads it from the hub, `arc-paper:FOLDER` from the folders ARC-Challenge and ARC-Easy in FOLDER.
    """
    folder = name.partition(":")[2]
    if folder:
        parts = [Path(folder) / configuration for _, configuration in HUB["arc-paper"] if configuration]
        for part in parts:
            if not part.is_dir():
                raise InputError(f"{name}: there is no folder {part}; arc-paper:FOLDER reads two folders in FOLDER.")
        challenge, easy = (collect(name, folder_records(part)) for part in parts)
    else:
        challenge, easy = (collect(name, hub_records((part,))) for part in HUB["arc-paper"])
    if "test" not in challenge.questions:
        raise InputError(f"{name}: ARC-Challenge has no test split here, which is the one that the paper scores.")
    test = challenge.questions["test"]
    train = [
        question
        for part in (challenge, easy)
        for split, questions in part.questions.items()
        for question in questions
        if not (part is challenge and split == "test")
    ]
    return Source(name, challenge.form, challenge.style, {"train": train, "test": test})
