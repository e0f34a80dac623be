"""The forms of data that likra knows, each recognised by the fields of its records.

A form turns one record (a dict, as JSON or `datasets` give it) into a `Question`, or into an `Example` where the data
is unpaired. Forms never guess: a record that has the fields of a form but breaks its rules is refused, by file, line
and field. Nor do they drop what belongs to a question: a field that looks like choices, or like a passage that is asked
about, is read or refused. `register` makes a form from outside known.
"""

from likra.data.forms.arc import HUB_ARC, OFFICIAL_ARC, OPENBOOKQA
from likra.data.forms.blimp import BLIMP
from likra.data.forms.choices import LETTERED, OPTIONS, OWN, RIGHT_ANSWERS
from likra.data.forms.conversations import (
    CONVERSATIONS,
    PROMPTED_TURNS,
    SHARED_TURNS,
    SHAREGPT,
    TURNS_PAIRS,
    UNPAIRED_TURNS,
)
from likra.data.forms.decision_records import DECISIONS
from likra.data.forms.fields import identity_of
from likra.data.forms.form import FORMS, MEANINGS, Form, Open, Record, Unusable, register
from likra.data.forms.hellaswag import HELLASWAG
from likra.data.forms.medmcqa import MEDMCQA
from likra.data.forms.preference import IMPLICIT_PROMPT, PREFERENCE_PAIRS, RIGHT_COMPLETIONS, UNPAIRED
from likra.data.forms.recognise import count_known, matters, recognise
from likra.data.forms.sciq import SCIQ
from likra.data.forms.truthfulqa import TRUTHFULQA
from likra.data.forms.winogrande import WINOGRANDE

# In the order in which they are tried.
FORMS += [OFFICIAL_ARC, HUB_ARC, OPENBOOKQA, HELLASWAG, WINOGRANDE, TRUTHFULQA, BLIMP]
FORMS += [DECISIONS, TURNS_PAIRS, SHARED_TURNS, UNPAIRED_TURNS, PROMPTED_TURNS]
FORMS += [PREFERENCE_PAIRS, UNPAIRED, OWN, OPTIONS, LETTERED, MEDMCQA, SCIQ, RIGHT_ANSWERS, RIGHT_COMPLETIONS]
FORMS += [CONVERSATIONS, SHAREGPT, IMPLICIT_PROMPT]

__all__ = [
    "FORMS",
    "MEANINGS",
    "Form",
    "Open",
    "Record",
    "Unusable",
    "count_known",
    "identity_of",
    "matters",
    "recognise",
    "register",
]
