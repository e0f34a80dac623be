"""The base class of prompt templates, and the registry in which each has a name."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, TypeVar

from likra.data.canonical import canonical
from likra.data.conversation import Context
from likra.data.question import Question
from likra.errors import InputError

SHOT_DELIMITER = "\n\n"


class Template(ABC):
    """Turns a question and one of its choices into a (context, completion) pair: the context is read, the rest scored.

    To add one, write a subclass in a file of its own, decorate it with `register`, and import that file. Then every
    function that takes a style takes its name.

    Attributes:
        name: Its name: the style.
        title: A few words on the wording, and the data that uses it.
        one_line: Whether an answer ends with its first line, after which another question would follow.
        fills_blank: Whether the choice goes into the context and the rest of the sentence is scored.
        has_prompt: Whether the question is read at all.
        has_examples: Whether it has solved examples of its own, so that no others can be put before it.
        lists_options: Whether the prompt lists the choices, and what is scored only names one of them.
        chosen: Whether it is a user's choice for data of any form, and no form's own. Heads that learned it are judged
            in it, whatever the data.
        example: A question and two choices, for the code on a model card.

    >>> @register
    ... class Shout(Template):
    ...     name, title = "shout", "the question in capitals"
    ...
    ...     def pair(self, text, answer):
    ...         return text.upper(), f" {answer}"
    >>> word("shout", Question("1", "Which gas?", ("oxygen", "argon")), 1)
    ('WHICH GAS?', ' argon')
    >>> del TEMPLATES["shout"]
    """

    name: ClassVar[str]
    title: ClassVar[str]
    one_line: ClassVar[bool] = False
    fills_blank: ClassVar[bool] = False
    has_prompt: ClassVar[bool] = True
    has_examples: ClassVar[bool] = False
    lists_options: ClassVar[bool] = False
    chosen: ClassVar[bool] = False
    example: ClassVar[tuple[str, tuple[str, str]]] = ("Which gas do plants give off?", ("oxygen", "carbon dioxide"))

    @abstractmethod
    def pair(self, text: str, answer: str) -> tuple[Context, str]:
        """The (context, completion) pair of a question's text and of a choice as `answer` gives it."""

    def pairs(self, question: Question) -> list[tuple[Context, str]]:
        """The (context, completion) pair of each choice of a question."""
        text = self.text(question)
        return [self.pair(text, answer) for answer in self.answers(question)]

    def text(self, question: Question) -> str:
        """What is asked, as `pair` takes it."""
        return question.text

    def answers(self, question: Question) -> list[str]:
        """What is scored of each choice, as `pair` takes it."""
        return [self.answer(choice) for choice in question.choices]

    def after(self, shots: Sequence[tuple[Context, str]], context: Context) -> Context:
        """A context after solved examples, each a context and its right completion."""
        return "".join(f"{shot}{completion}{SHOT_DELIMITER}" for shot, completion in shots) + str(context)

    def answer(self, choice: str) -> str:
        """The part of a choice that is read and scored, so that two choices that say the same are the same tokens."""
        return canonical(choice)

    @property
    def continues(self) -> bool:
        """Whether an answer continues a prompt, so that one can be sampled."""
        return self.has_prompt and not self.fills_blank and not self.lists_options


#: name -> template, in the order in which they are listed.
TEMPLATES: dict[str, Template] = {}

_T = TypeVar("_T", bound=type[Template])


def register(cls: _T) -> _T:
    """Class decorator: make a template known by its name."""
    TEMPLATES[cls.name] = cls()
    return cls


def template(style: str) -> Template:
    """The template of this name.

    Raises:
        InputError: There is none.
    """
    if style not in TEMPLATES:
        raise InputError(f"style must be one of {', '.join(TEMPLATES)}, got {style!r}.")
    return TEMPLATES[style]


def answer_text(style: str, choice: str) -> str:
    """The part of a choice that is read and scored in a style; of a style that is not known, the canonical text.

    >>> answer_text("qa", " oxygen "), answer_text("verbatim", " oxygen ")
    ('oxygen', ' oxygen ')
    """
    return TEMPLATES[style].answer(choice) if style in TEMPLATES else canonical(choice)


def scored_texts(style: str, question: Question) -> list[str]:
    """What is scored of each choice of a question in a style, without the space before it; as `answer_text`.

    >>> scored_texts("options", Question("1", "Which gas?", ("oxygen", "argon")))
    ['A', 'B']
    """
    if style in TEMPLATES:
        return TEMPLATES[style].answers(question)
    return [canonical(choice) for choice in question.choices]


def word(style: str, question: Question, choice: int) -> tuple[Context, str]:
    """The (context, completion) pair of one choice, without few-shot examples.

    >>> word("qa", Question("1", "Which gas?", ("oxygen", "argon")), 0)
    ('Question: Which gas?\\nAnswer:', ' oxygen')

    Raises:
        InputError: The style is unknown.
    """
    return template(style).pairs(question)[choice]
