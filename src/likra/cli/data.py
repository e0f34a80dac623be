"""`likra data`: what is in a source."""

from collections import Counter
from typing import Annotated

import typer

from likra.cli import options


def data(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help=options.DATA_HELP, show_default=False)],
    negatives: Annotated[
        str, typer.Option(help="Kind of negatives to show: incorrect, all, irrelevant, unrelated.")
    ] = "incorrect",
    unrelated_data: Annotated[
        str, typer.Option(metavar="SOURCE", help="Where `unrelated` negatives come from.")
    ] = "world",
    shots: options.Shots = 0,
    sampled_shots: options.SampledShots = False,
    template: options.Template = None,
    text: options.Text = None,
    label: options.Label = None,
    seed: Annotated[int, typer.Option(help="Seed of the negatives.")] = 0,
) -> None:
    """Show what is recognised in a source of questions: its form, splits, an example, and its negatives.

    Notes say what is likely to disappoint: completions glued to their prompts, labels that are descriptions, too few
    records for the default recipe.
    """
    from rich.table import Table
    from rich.text import Text

    from likra.data import NEGATIVE_KINDS, TEMPLATES, Prompter, load
    from likra.data import negatives as make_negatives
    from likra.data.advice import advice
    from likra.data.sources import answers, right_answers
    from likra.models.lora_config import LoraShape
    from likra.training.config import TrainingConfig
    from likra.training.recipe import are_labels, suited

    found = options.load(source, template, text, label)
    console = options.console()
    facts = Table.grid(padding=(0, 2))
    facts.add_row("source", Text(found.name))
    facts.add_row("form", found.form)
    facts.add_row("template", f"{found.style}: {TEMPLATES[found.style].title}")
    if found.unpaired:
        for split, examples in found.examples.items():
            right = sum(example.right for example in examples)
            facts.add_row(split, f"{right} right and {len(examples) - right} wrong completions, unpaired")
    for split, questions in found.questions.items():
        facts.add_row(split, f"{len(questions)} questions, {_choice_counts([len(q.choices) for q in questions])}")
    if found.columns:
        facts.add_row("labels", Text(", ".join(found.columns.labels)))
    for reason, count in found.skipped.items():
        facts.add_row("skipped", f"{count} records: {reason}")
    console.print(facts)
    rights = [example.right for example in found.examples.get("train", ())]
    counts = [sum(rights), len(rights) - sum(rights)] if rights else [len(found.questions.get("train", ()))]
    default = suited(counts, are_labels(found), TrainingConfig(lora=LoraShape()))
    for sentence in advice(found, default.steps):
        options.note(sentence)

    if found.unpaired:
        for right, label in ((True, "a right completion"), (False, "a wrong completion")):
            sample = next((e for e in found.examples.get("train", []) if e.right is right), None)
            if sample:
                console.print(f"\n[bold]{label}[/bold]")
                console.print(Text(f"{sample.prompt}[{sample.completion}]"))
        return
    pool = found.questions.get("train", [])
    prompter = Prompter(found.style, shots, pool, sampled_shots)
    question = (pool or found.split(None))[0]
    console.print("\n[bold]an example, as the model reads it[/bold] (each choice in brackets, * is right)")
    pairs = prompter.pairs(question)
    if len({context for context, _ in pairs}) == 1:
        console.print(Text(str(pairs[0][0])))
        for place, (_, completion) in enumerate(pairs):
            console.print(Text(f"  {'*' if place == question.answer else ' '} [{completion}]"))
    else:
        for place, (context, completion) in enumerate(pairs):
            console.print(Text(f"  {'*' if place == question.answer else ' '} {context}[{completion}]"))
    if found.right_only and negatives in ("incorrect", "all"):
        console.print("\n[bold]negatives[/bold]: none here; find some with `likra mine`, or see --negatives irrelevant")
        return
    console.print(f"\n[bold]negatives[/bold] ({negatives}: {NEGATIVE_KINDS.get(negatives, '?')})")
    questions = pool or found.split(None)
    texts = answers(load(unrelated_data)) if negatives == "unrelated" else right_answers(questions)
    for example in make_negatives(questions[:3], Prompter(found.style), negatives, seed=seed, pool=texts):
        lines = str(example.prompt).splitlines() or [""]
        console.print(Text(f"  {' / '.join(lines)}[{example.completion}]"))


def _choice_counts(counts: list[int]) -> str:
    tally = sorted(Counter(counts).items())
    if len(tally) == 1:
        return f"{tally[0][0]} choices each"
    return "choices: " + ", ".join(f"{count} questions with {choices}" for choices, count in tally)
