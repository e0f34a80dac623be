"""What clients send and get. Reranking has the form of Cohere, Jina and vLLM, so that their clients need no change."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, FailFast, Field
from pydantic_core import PydanticCustomError


def _whole(text: str) -> str:
    """JSON can escape half a surrogate pair, which no tokenizer reads."""
    if text.isascii() or text.encode("utf-8", "ignore").decode() == text:
        return text
    raise PydanticCustomError("surrogate", "Input should be text; it holds half a surrogate pair")


Text = Annotated[str, AfterValidator(_whole)]


class Refusal(BaseModel):
    """Why a request was refused."""

    detail: str = Field(description="One line: what is wrong, and what to do.")


class Document(BaseModel):
    """A text to rank."""

    text: Text


def _text_of(sent: Any) -> str:
    """The text of a document; a union would say of each of its forms what is wrong with it."""
    text = sent.get("text") if isinstance(sent, dict) else sent
    if not isinstance(text, str):
        raise PydanticCustomError("document", "Input should be text, or an object with `text`")
    return _whole(text)


class RerankRequest(BaseModel):
    """Documents to rank for a query. What other servers' clients send beside these fields is ignored."""

    query: Text
    documents: Annotated[
        list[Annotated[str, BeforeValidator(_text_of, json_schema_input_type=str | Document)]],
        FailFast(),
        Field(min_length=1),
    ]
    top_n: int | None = Field(None, ge=0, description="Return only so many of the best; 0: all.")
    return_documents: bool | None = Field(True, description="Whether results hold the documents' texts.")
    model: Text | None = Field(None, description="Any name; given back.")
    min_confidence: float | None = Field(
        None,
        ge=0,
        le=1,
        description="likra's own: say of each document that is less probably right that it is withheld.",
    )


class RankedDocument(BaseModel):
    """One document, at its rank."""

    index: int = Field(description="Place in the request's list, from 0.")
    relevance_score: float = Field(
        description="The probability that it is the right one, where the heads are calibrated (and there are two "
        "documents or more); else, where they are calibrated on unpaired data, the probability that it is right by "
        "itself; else L+ - w * L-, in nats. Higher is better."
    )
    withheld: bool = Field(description="Whether it is less probably right than `min_confidence` asks for.")
    document: Document | None = None


class Usage(BaseModel):
    """What was read."""

    total_tokens: int = Field(description="Tokens of the documents.")


class ApiVersion(BaseModel):
    """Which version of the form this is."""

    version: str


class Meta(BaseModel):
    """Cohere's own."""

    api_version: ApiVersion


class RerankResponse(BaseModel):
    """Documents, best first."""

    id: str
    model: str
    results: list[RankedDocument]
    usage: Usage
    meta: Meta


class ScoreRequest(BaseModel):
    """A question and its candidate answers."""

    model_config = ConfigDict(extra="forbid")

    question: Text
    choices: Annotated[list[Text], FailFast(), Field(min_length=1)]
    weight: float | None = Field(
        None, ge=-1000, le=1000, allow_inf_nan=False, description="w in L+ - w * L-; null: the heads' own."
    )
    min_confidence: float | None = Field(
        None, ge=0, le=1, description="Answer only when at least so probably right; needs calibrated heads."
    )


class ScoredChoice(BaseModel):
    """One candidate; log-likelihoods in nats, summed over its tokens."""

    model_config = ConfigDict(from_attributes=True)

    text: str
    score: float = Field(description="L+ - w * L-; higher is better.")
    positive: float = Field(description="L+: under the head that learned right answers (the base, for Base-Likra).")
    negative: float | None = Field(description="L-: under the head that learned wrong answers; null for SFT.")
    base: float = Field(description="Under the untrained base.")
    probability: float | None = Field(
        description="That it is the right one, if one of them is; of a lone choice, or where the heads are calibrated "
        "on unpaired data alone, that it is right by itself. Null where they are not calibrated so for this weight."
    )
    withheld: bool = Field(description="Whether that is less than `min_confidence` asks for.")


class ScoreResponse(BaseModel):
    """Choices in the order of the request, and which is best."""

    model: str
    weight: float
    choices: list[ScoredChoice]
    best: int = Field(description="Index of the best choice, from 0.")
    answer: int | None = Field(description="The same; null where it is withheld.")
    withheld: bool = Field(description="Whether the best choice is less probably right than `min_confidence` asks for.")
    abstained: bool = Field(description="The same as `withheld`.")


class Health(BaseModel):
    """What is being served."""

    status: str = Field(description="ok; or failed, with 503, where the model is not read any more.")
    version: str
    model: str
    heads: list[str]
    weight: float = Field(description="The w that is used where a request gives none.")
    style: str = Field(description="How questions are worded.")
    calibrated: bool = Field(description="Whether answers at this weight have probabilities.")
    key_required: bool
