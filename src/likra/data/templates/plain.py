"""The template of HellaSwag."""

from likra.data.templates.template import Template


class Plain(Template):
    name = "plain"
    title = "the text as it is, then a space and the choice (HellaSwag)"
    one_line = True
    example = ("She fills the kettle and", ("puts it on the stove.", "reads it to the children."))

    def pair(self, text: str, answer: str) -> tuple[str, str]:
        return text, f" {answer}"
