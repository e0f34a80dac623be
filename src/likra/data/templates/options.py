"""The template of MMLU, for questions of any data."""

from string import ascii_uppercase

from likra.data.canonical import canonical
from likra.data.question import Question
from likra.data.templates.template import Template
from likra.errors import InputError


class Options(Template):
    name = "options"
    title = "the question, its choices under letters, 'Answer:'; the letter is scored (MMLU; any data with choices)"
    one_line = True
    lists_options = True
    chosen = True

    def pair(self, text: str, answer: str) -> tuple[str, str]:
        return f"{text}\nAnswer:", f" {answer}"

    def text(self, question: Question) -> str:
        listed = zip(self.answers(question), question.choices, strict=True)
        return "\n".join([question.text.strip(), *(f"{letter}. {canonical(choice)}" for letter, choice in listed)])

    def answers(self, question: Question) -> list[str]:
        """A letter for each choice, in their order.

        Raises:
            InputError: There are fewer than two choices, or more than letters.
        """
        if not 2 <= (count := len(question.choices)) <= len(ascii_uppercase):
            raise InputError(
                f"{question.name} has {count} choices; prompts that list them under letters need 2 to "
                f"{len(ascii_uppercase)}. Take another template."
            )
        return [*ascii_uppercase[:count]]
