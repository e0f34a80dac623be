"""Python's names of arguments as the command line's flags, for messages of the library."""

import re

#: Argument -> flag, where the flag is not the argument's own name.
_OTHER = {
    "learning_rate": "--lr",
    "per_device_train_batch_size": "--batch-size",
    "gradient_accumulation_steps": "--grad-accum",
    "num_train_epochs": "--epochs",
    "lr_scheduler_type": "--schedule",
    "warmup_ratio": "--warmup",
    "r": "--rank",
    "lora_alpha": "--alpha",
    "target_modules": "--targets",
    "amount": "--contrast",
    "answers": "--n",
    "choices": "--choice",
    "kinds": "--kind",
    "style": "--template",
}
_SAME = (
    "adapt beams bf16 device dtype limit loss lr memory method n negatives normalization plausibility precision "
    "quantize recipe replay revision role seed seeds shots sizes split temperature tests tries voices weight"
)
#: Arguments whose names are no words of English: they are flags wherever they stand in a message.
_ANYWHERE = (
    "base_revision bf16 dtype error_budget gradient_accumulation_steps gradient_checkpointing learning_rate lora_alpha "
    "lr_scheduler_type max_tokens num_train_epochs per_device_train_batch_size per_question report_to sampled_shots "
    "target_modules top_p trust_remote_code warmup_ratio"
)


def _flag(name: str) -> str:
    return _OTHER.get(name, "--" + name.replace("_", "-"))


def _any_of(names: str) -> str:
    return "|".join(sorted([*names.split()], key=len, reverse=True))


#: An argument that a message, or its second sentence, is about; or one that can be nothing else. Never part of a path.
_NAMED = re.compile(
    rf"(?:^|(?<=; ))(?P<subject>{_any_of(_SAME + ' ' + ' '.join(_OTHER))})"
    rf"(?= (?:must|is|was|needs|has|cannot)\b| [\[\d'-])"
    rf"|(?<![\w/.'-])(?P<anywhere>{_any_of(_ANYWHERE)})(?![\w/.'=-])"
)


def in_flags(message: str) -> str:
    """A message of the library with the flags of the arguments that it is about.

    >>> in_flags("learning_rate must be a positive number, got 0.")
    '--lr must be a positive number, got 0.'
    >>> in_flags("weight: no such file or folder.")
    'weight: no such file or folder.'
    """
    return _NAMED.sub(lambda found: _flag(found["subject"] or found["anywhere"]), message)
