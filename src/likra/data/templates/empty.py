"""The template of BLiMP."""

from likra.data.templates.template import Template


class Empty(Template):
    name = "empty"
    title = "no prompt: the whole sentence is scored (BLiMP)"
    has_prompt = False
    example = ("", ("The cats sleep.", "The cats sleeps."))

    def pair(self, text: str, answer: str) -> tuple[str, str]:
        return "", f" {answer}"
