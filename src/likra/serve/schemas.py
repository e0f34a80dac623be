"""What clients send and get. Reranking has the form of Cohere, Jina and vLLM, so that their clients need no change."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, FailFast, Field
from pydantic_core import PydanticCustomError

from likra.data.canonical import is_whole


def _whole(text: str) -> str:
    if is_whole(text):
        return text
    raise PydanticCustomError("surrogate", "Input should be text; it holds half a surrogate pair")


Text = Annotated[str, AfterValidator(_whole)]
#: What may be said of something: text or JSON.
Described = str | dict[str, Any] | list[Any] | None
#: The same where something must be said.
Filled = Annotated[str, Field(pattern=r"\S")]
Said = Filled | Annotated[dict[str, Any], Field(min_length=1)] | Annotated[list[Any], Field(min_length=1)]


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
    model: Text | None = Field(
        None, description="One of the server's models; any name where it has one only. Given back."
    )
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
    model: Text | None = Field(None, description="One of the server's models; null: its first.")
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


class RiskCoverage(BaseModel):
    """What can be taken without a look, by questions with known answers that the probabilities were not fitted to."""

    points: list[tuple[float, float, float]] = Field(
        description="[threshold, coverage, risk]: the share of those questions whose best choice is at least so "
        "probable, and the share of wrong ones among them; the highest threshold first. Empty where the heads were "
        "calibrated before it was kept."
    )
    questions: int = Field(description="How many questions those were.")
    budget: float | None = Field(description="The error budget that a threshold was chosen for; null: none was given.")
    threshold: float | None = Field(description="That threshold; null where nothing can be automated within a budget.")


class Health(BaseModel):
    """What is being served."""

    status: str = Field(description="ok; or failed, with 503, where the model is not read any more.")
    version: str
    model: str = Field(description="The model that the rest is said of: that of the query, or the server's first.")
    models: list[str] = Field(description="All models.")
    heads: list[str]
    weight: float = Field(description="The w that is used where a request gives none.")
    style: str = Field(description="How questions are worded.")
    calibrated: bool = Field(description="Whether answers at this weight have probabilities.")
    risk_coverage: RiskCoverage | None = Field(
        description="Of questions with choices; null where the heads are not calibrated for them."
    )
    key_required: bool


class NoulQuestion(BaseModel):
    """A question with the answers yes and no."""

    type: Literal["noul"]
    instructions: Said | None = Field(None, description="What is asked; may be left out where criteria say it.")
    criteria: str | dict[Literal["true", "false"], Described] | None = Field(
        None, description="What counts as yes, or as each of true and false."
    )


class ChoiceQuestion(BaseModel):
    """A question with named options, of which one is right; their order changes nothing."""

    type: Literal["choice"]
    instructions: Said | None = Field(None, description="What is asked; may be left out where criteria say it.")
    criteria: Annotated[dict[Filled, Described], Field(min_length=2, max_length=255)] = Field(
        description="The options, each with what is said of it, or null."
    )


class ScoreQuestion(BaseModel):
    """A question with ordered levels."""

    type: Literal["score"]
    instructions: Said | None = Field(None, description="What is asked; may be left out where criteria say it.")
    criteria: Annotated[list[Said], Field(min_length=2, max_length=10)] = Field(
        description="The levels, the lowest first."
    )


class DecisionBody(BaseModel):
    """A state and typed questions about it: the wire format of decision models. Other fields are ignored."""

    model: str | None = Field(
        None, description="One of the server's models; any name where it has one only. Null: the first."
    )
    state: Said = Field(description="What is to be decided about.")
    questions: Annotated[dict[str, NoulQuestion | ChoiceQuestion | ScoreQuestion], Field(min_length=1)] = Field(
        description="The questions, each under a name of the client's."
    )


def inlined(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a model without references, for a place in a document that has no definitions."""
    schema = model.model_json_schema()
    defined = schema.pop("$defs", {})

    def resolved(part: Any) -> Any:
        if isinstance(part, list):
            return [resolved(one) for one in part]
        if not isinstance(part, dict):
            return part
        if "$ref" in part:
            return resolved(defined[part["$ref"].rsplit("/", 1)[1]])
        return {key: resolved(value) for key, value in part.items()}

    found: dict[str, Any] = resolved(schema)
    return found


class _Answer(BaseModel):
    calibrated: bool = Field(description="Whether a calibration (`likra calibrate`, `likra tune`) gave it.")
    as_learned: bool = Field(
        description="Whether it was asked as heads learned it from a table: by the text alone. Instructions and "
        "descriptions were not read then."
    )
    note: str | None = Field(None, description="What is to be known of an answer that the heads were not taught.")


class NoulAnswer(_Answer):
    """The probability of yes."""

    type: Literal["noul"]
    noul: float


class ChoiceAnswer(_Answer):
    """The likeliest option; of equally likely ones the first by name."""

    type: Literal["choice"]
    choice: str
    probabilities: dict[str, float]
    confidence: float = Field(description="(p - 1/n) / (1 - 1/n) for the largest probability p of n options.")


class ScoreAnswer(_Answer):
    """The mean of the levels' numbers, from 0, under their probabilities."""

    type: Literal["score"]
    score: float
    probabilities: dict[str, float] = Field(description="Of each level, by its number.")
    confidence: float = Field(description="(p - 1/n) / (1 - 1/n) for the largest probability p of n levels.")
    legend: dict[str, Any] = Field(description="The level of each number.")


class TokenUsage(BaseModel):
    """What was read."""

    input_tokens: int = Field(description="Tokens of state, questions and options; what several share counts once.")
    output_tokens: int = Field(description="0: nothing is generated.")


class DecisionResponse(BaseModel):
    """The answer to each question."""

    model: str
    answers: dict[str, NoulAnswer | ChoiceAnswer | ScoreAnswer]
    usage: TokenUsage
    calibrated: bool = Field(description="Whether all answers are.")


class ModelMetadata(BaseModel):
    """A model of this server."""

    name: str
    description: str
    release_date: str = Field(description="When its files were written, YYYY-MM-DD.")


class ModelList(BaseModel):
    """All models of this server, the first of which answers where a request names none."""

    models: list[ModelMetadata]
