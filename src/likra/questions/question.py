"""What is asked, and what a head is trained on."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """A question with candidate answers.

    Attributes:
        id: Identifies the question within its source; the 90/10 split hashes it.
        text: What is asked. How it is worded as a prompt is the style's matter (`likra.questions.prompts`). Empty
            where the data has no question (BLiMP).
        choices: The candidate answers: two or more, or the right one alone where the data has no wrong ones.
        answer: Index of the right one in `choices`, or None where it is not known.
        group: A label that accuracies can be broken down by (BLiMP's paradigm, say), where the data has one.
    """

    id: str
    text: str
    choices: tuple[str, ...]
    answer: int | None = None
    group: str | None = None


@dataclass(frozen=True)
class Example:
    """One completion of a prompt, right or wrong: a right one trains the positive head, a wrong one the negative.

    Attributes:
        prompt: Text the completion follows; may be empty.
        completion: Text whose likelihood is trained or measured, with the space that separates it from the prompt.
        right: Whether the completion is a right answer.
    """

    prompt: str
    completion: str
    right: bool
