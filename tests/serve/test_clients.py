"""Cohere's own client, pointed at a likra."""

import pytest

from likra import Likra
from likra.data import Question
from likra.serve import create_app
from tests.serve.conftest import listening

cohere = pytest.importorskip("cohere", reason="cohere's client is not installed")


@pytest.mark.parametrize("version", ["Client", "ClientV2"])
def test_cohere_ranks_as_the_library_does(likra: Likra, world: list[Question], version: str) -> None:
    with listening(create_app({"world-heads": likra}, key="secret-7")) as address:
        client = getattr(cohere, version)(api_key="secret-7", base_url=address)
        for question in world[:5]:
            best = likra.rank(question.text, question.choices)
            found = client.rerank(model="any", query=question.text, documents=list(question.choices), top_n=3)
            assert [question.choices[result.index] for result in found.results] == [c.text for c in best[:3]]
            scores = [result.relevance_score for result in found.results]
            assert scores == pytest.approx([candidate.score for candidate in best[:3]], abs=1e-4)
        stranger = getattr(cohere, version)(api_key="another", base_url=address)
        with pytest.raises(cohere.UnauthorizedError):
            stranger.rerank(model="any", query="Which?", documents=["a", "b"])
        with pytest.raises(cohere.UnprocessableEntityError):
            client.rerank(model="any", query="Which?", documents=["a", ""])
