"""A question with its choices, and one completion to train on."""

from dataclasses import dataclass, field

from likra.data.canonical import canonical
from likra.data.conversation import Context, Turn, transcript


def what_is_asked(text: str) -> str:
    """A form of a question's text that is equal for texts that ask the same: white space, Unicode forms and case aside.

    >>> what_is_asked("Which  gas? ") == what_is_asked("which gas?")
    True
    """
    return " ".join(canonical(text).split()).casefold()


@dataclass(frozen=True)
class Question:
    """A question with candidate answers.

    Attributes:
        id: Identifies the record within its source: records that differ have different ids.
        text: What is asked. A prompt template words it (`likra.data.templates`). Empty where the data has no
            question (BLiMP).
        choices: The candidate answers: two or more, or the right one alone where the data has no wrong ones.
        answer: Index of the right one in `choices`, or None where it is not known.
        group: A label that accuracies can be broken down by (BLiMP's paradigm, say), where the data has one.
        before: Earlier turns, where the text is the last turn of a conversation.
        state: What the question is about, where other questions are about the same: they stay on one side of a split.
            It is part of the text.
        where: File and line that it was read from, for messages; empty where it was made in memory.

    >>> gas = Question("1", "Which gas?", ("oxygen", "argon"), answer=0)
    >>> gas.choices[gas.answer], gas.asked, gas.name
    ('oxygen', 'which gas?', "question '1'")
    """

    id: str
    text: str
    choices: tuple[str, ...]
    answer: int | None = None
    group: str | None = None
    before: tuple[Turn, ...] = field(default=(), repr=False)
    state: str = field(default="", repr=False)
    where: str = field(default="", compare=False, repr=False)

    @property
    def transcript(self) -> str:
        """The text, after earlier turns if there are some."""
        return transcript((*self.before, ("user", self.text)))

    @property
    def asked(self) -> str:
        """Equal for questions that stay together: the 90/10 split hashes it, folds and intervals go by it.

        They ask the same, or about the same state, whatever their choices and ids. It is the text (or state) without
        regard to white space, Unicode forms and case; the id where there is no text (BLiMP).
        """
        return what_is_asked(self.state or self.transcript) or self.id

    @property
    def name(self) -> str:
        """Its name in messages."""
        return self.where or f"question {self.id!r}"


@dataclass(frozen=True)
class Example:
    """One completion of a prompt, right or wrong: a right one trains the positive head, a wrong one the negative.

    Attributes:
        prompt: Text, or conversation, that the completion follows; may be empty.
        completion: Text whose likelihood is trained or measured, with the space that separates it from the prompt.
        right: Whether the completion is a right answer.
        question: What is asked, where a template words it in the prompt; None: the prompt.
        where: File and line that it was read from, for messages; empty where it was made in memory.

    >>> Example("Which gas?", " oxygen", right=True).completion
    ' oxygen'
    """

    prompt: Context
    completion: str
    right: bool
    question: str | None = field(default=None, compare=False, repr=False)
    where: str = field(default="", compare=False, repr=False)

    @property
    def text(self) -> str:
        """What is asked, without a template."""
        if self.question is not None:
            return self.question
        return self.prompt if isinstance(self.prompt, str) else self.prompt.asked

    @property
    def asked(self) -> str:
        """Equal for examples of one prompt, as `Question.asked`; of the completion where nothing is asked."""
        return what_is_asked(self.text) or canonical(self.completion)
