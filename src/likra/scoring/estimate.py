"""A number with its 95% interval."""

from dataclasses import dataclass

Z95 = 1.959963984540054  # the 97.5% quantile of the standard normal distribution


@dataclass(frozen=True)
class Estimate:
    """A number with its 95% interval.

    Attributes:
        value: Its value on all the data.
        low, high: Ends of the interval; infinite where the data does not bound it, NaN where there is none.
        count: Number of questions that it is a mean over, where it is one.

    >>> Estimate(0.5, 0.25, 0.75, count=12).as_accuracy()
    {'accuracy': 0.5, 'low': 0.25, 'high': 0.75}
    """

    value: float
    low: float
    high: float
    count: int | None = None

    def as_accuracy(self) -> dict[str, float]:
        """JSON of an accuracy."""
        return {"accuracy": self.value, "low": self.low, "high": self.high}

    def as_json(self) -> dict[str, float]:
        """JSON of any other number."""
        return {"value": self.value, "low": self.low, "high": self.high}
