"""The parts of a card: what each of its sections holds, and which values are refused."""

from __future__ import annotations

import unicodedata
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Task = Literal["lens", "morphology", "merger", "photoz"]
Probability = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Word = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
Band = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_+.-]*$", max_length=64)]
"""Part of names of columns."""
Count = Annotated[int, Field(ge=0, lt=1 << 62)]


class CardPart(BaseModel):
    """Base of the card and its parts: immutable, no unknown keys, no NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _printable(cls, value: Any) -> Any:
        """Texts go to terminals, pages and names of columns: none of them steers a terminal."""
        texts = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else [value]
        for text in texts:
            if isinstance(text, str) and any(_steers(character) for character in text):
                raise ValueError(f"{text[:80]!a} has control characters: leave them out")
        return value


def _steers(character: str) -> bool:
    """Whether a character does something to a terminal: all control characters but newlines, and those that turn the writing."""
    return (unicodedata.category(character) in ("Cc", "Cs") and character != "\n") or character in _TURNS


_TURNS = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class Scaling(CardPart):
    """How fluxes become what the network sees: ``asinh(flux / softening)`` in each band."""

    kind: Literal["asinh"] = "asinh"
    softening: dict[str, Positive]
    """nJy per pixel of each band, near the noise of the sky."""


class PhotometryScaling(CardPart):
    """How a source's measured fluxes become what the network sees beside its stamp: ``asinh(flux / softening)`` and
    ``log(flux_err / softening)`` in each band."""

    softening: dict[str, Positive]
    """nJy of each band, near the errors of faint sources."""


class Outputs(CardPart):
    """What the numbers of the network's last layer stand for."""

    questions: dict[Word, Annotated[list[Word], Field(min_length=2)]] | None = None
    """Morphology: answers of each question, in the order of the outputs."""
    n_components: Annotated[int, Field(ge=1, le=100)] | None = None
    """Photo-z: Gaussians in the mixture."""
    time_mean: float | None = None
    """Merger: Myr that a time output of 0 stands for."""
    time_scale: Positive | None = None
    """Merger: Myr that a time output of 1 is away from `time_mean`."""


class Prior(CardPart):
    """Fraction of positives, on which a probability depends."""

    training: Probability
    survey: Probability


class Calibration(CardPart):
    """What was fitted on a validation set after the network: ``score = sigmoid(logit / temperature + bias)``, and two factors."""

    temperature: Positive = 1.0
    bias: float = 0.0
    time_err: Positive = 1.0
    """Merger: on the uncertainty of the time."""
    concentration: dict[Word, Positive] = {}
    """Morphology: on the concentrations of each question; 1 where it is not named."""
    width: Positive = 1.0
    """Photo-z: on the widths of the Gaussians."""


class Domain(CardPart):
    """Range of the training set, outside which a source is flagged."""

    band: Band
    """Band of the magnitudes."""
    magnitude: tuple[float, float]
    """AB magnitudes, brightest and faintest."""
    seeing_arcsec: tuple[float, float] | None = None
    depth: str = ""
    feature_distance: Positive | None = None
    """Largest distance from the training set, in the features of a network whose last output is its square; 99 % of the
    validation set are nearer."""

    @model_validator(mode="after")
    def _ordered(self) -> Domain:
        if not self.magnitude[0] < self.magnitude[1]:
            raise ValueError(f"domain.magnitude is {list(self.magnitude)}, expected [brightest, faintest]")
        return self


class Cascade(CardPart):
    """A small network that says which stamps the whole one need not see (`surveycnn.inference.cascade`)."""

    enabled: bool = False
    """Whether it is used where nobody says otherwise."""
    threshold: float
    """Logit of the first stage from which a stamp goes on to the network."""
    temperature: Positive
    bias: float
    """``score = sigmoid(logit / temperature + bias)`` of the stamps that do not go on, at the prior of the network's score."""
    passed: Share
    """Of the objects of simulated mosaics without lenses, as measured."""
    lost: Share
    """Of the held-out lenses that the network alone ranks above all but ten negatives, those that do not go on."""
    n_weights: Count = 0
    flops: Count = 0
    command: str
    """What made it."""


class Training(CardPart):
    """How the weights came about."""

    simulation: str
    seed: int
    n: Count
    """Stamps in the training set, before augmentation."""
    command: str
    epochs: Count = 0


class Metric(CardPart):
    """One measured figure."""

    value: float
    definition: str
    n: Count
    interval: tuple[float, float] | None = None
    """16 and 84 % of the bootstrap."""


class Reliability(CardPart):
    """How often a score was right on a set that was not trained on, in bins of ascending score and equal weight."""

    score: list[Share]
    """Mean of each bin; the classes are weighted to the prior of the training."""
    fraction: list[Share]
    """Share of positives in each bin, weighted likewise."""
    error: list[Annotated[float, Field(ge=0)]]
    """Standard error of `fraction`."""
    n: Count
    """Objects of the set."""
    definition: str

    @model_validator(mode="after")
    def _of_one_length(self) -> Reliability:
        lengths = [len(self.score), len(self.fraction), len(self.error)]
        if len(set(lengths)) > 1:
            raise ValueError(f"score, fraction and error have {lengths} bins, expected the same number")
        return self
