"""The template of WinoGrande."""

from likra.data.templates.template import Template


class Cloze(Template):
    name = "cloze"
    title = "the choice fills the blank '_', the rest of the sentence is scored (WinoGrande)"
    fills_blank = True
    example = ("The cup did not fit into the box because the _ was too large.", ("cup", "box"))

    def pair(self, text: str, answer: str) -> tuple[str, str]:
        before, _, after = text.partition("_")
        return before + answer, f" {after.strip()}"
