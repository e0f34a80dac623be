"""The template of ARC."""

from likra.data.templates.template import Template


class QuestionAnswer(Template):
    name = "qa"
    title = "'Question: ...\\nAnswer:' (ARC, likra's own files)"
    one_line = True

    def pair(self, text: str, answer: str) -> tuple[str, str]:
        return f"Question: {text}\nAnswer:", f" {answer}"
