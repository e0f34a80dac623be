"""The two heads of a Likra."""

POSITIVE, NEGATIVE = "positive", "negative"
