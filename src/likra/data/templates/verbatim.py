"""The template of preference data, whose completions bring their own spaces."""

from likra.data.canonical import composed
from likra.data.templates.template import Template


class Verbatim(Template):
    name = "verbatim"
    title = "prompt and completion joined as they are (preference data)"
    example = ("Which gas do plants give off?", (" Oxygen.", " Carbon dioxide."))

    def pair(self, text: str, answer: str) -> tuple[str, str]:
        return text, answer

    def answer(self, choice: str) -> str:
        return composed(choice)
