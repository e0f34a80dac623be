"""One prompt and its candidates as one row of tokens: the prompt once, every candidate a branch that sees only it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from likra.questions.tokens import TokenPair

BRANCH_TOKENS = 256  # tokens of all candidates in one row, unless the prompt is longer


@dataclass(frozen=True)
class Tree:
    """A context with its distinct completions, in a canonical order.

    The order is that of the token ids, so that neither the order of a question's choices nor a choice that occurs
    twice can change a likelihood in its last bits.

    Attributes:
        context: Ids of the context.
        completions: Ids of each completion.
    """

    context: tuple[int, ...]
    completions: tuple[tuple[int, ...], ...]

    @property
    def length(self) -> int:
        """Tokens read: the context, and of each completion all but the last, which is only predicted."""
        return len(self.context) + sum(len(completion) - 1 for completion in self.completions)

    @property
    def kept(self) -> int:
        """Places whose logits are needed: the context's last token and every token after it."""
        return self.length - len(self.context) + 1


def plant(questions: Sequence[Sequence[TokenPair]], *, share: bool) -> list[Tree]:
    """The distinct trees of some questions' pairs, longest first.

    Args:
        questions: The pairs of each question; a question's pairs of one context share a tree.
        share: False gives every pair a tree of its own.
    """
    trees: set[Tree] = set()
    for pairs in questions:
        branches: dict[tuple[int, ...], set[tuple[int, ...]]] = {}
        for pair in pairs:
            branches.setdefault(pair.context, set()).add(pair.completion)
        for context, completions in branches.items():
            trees.update(Tree(context, group) for group in _groups(context, sorted(completions), share))
    return sorted(trees, key=lambda tree: (-tree.length, tree.context, tree.completions))


def _groups(
    context: tuple[int, ...], completions: list[tuple[int, ...]], share: bool
) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Completions that share one reading of the context."""
    # A row's attention costs the square of its length, so more branches than this are better read in a second row.
    room = max(len(context), BRANCH_TOKENS) if share else 0
    group: list[tuple[int, ...]] = []
    used = 0
    for completion in completions:
        if group and used + len(completion) > room:
            yield tuple(group)
            group, used = [], 0
        group.append(completion)
        used += len(completion)
    yield tuple(group)


@dataclass
class TreeRows:
    """R trees as rows of T tokens, padded on the left.

    Attributes:
        ids_RT: Token ids.
        positions_RT: Position of each token in its own branch: a completion's first token follows the context's last.
        branch_RT: 0 on the context, 1, 2, ... on the completions, -1 on padding.
        answer_RT: True on tokens whose output predicts a completion's token.
        places: For each tree and completion, the places (from the right end, 1 = last) of the tokens that predict it.
    """

    ids_RT: torch.Tensor
    positions_RT: torch.Tensor
    branch_RT: torch.Tensor
    answer_RT: torch.Tensor
    places: list[list[list[int]]]

    @classmethod
    def of(cls, trees: Sequence[Tree]) -> "TreeRows":
        length = max(tree.length for tree in trees)
        ids, positions = torch.zeros(2, len(trees), length, dtype=torch.long).unbind()
        branch = torch.full((len(trees), length), -1)
        answer = torch.zeros(len(trees), length, dtype=torch.bool)
        places = []
        for row, tree in enumerate(trees):
            start, depth = length - tree.length, len(tree.context)
            ids[row, start : start + depth] = torch.tensor(tree.context)
            positions[row, start : start + depth] = torch.arange(depth)
            branch[row, start : start + depth] = 0
            answer[row, start + depth - 1 :] = True
            at = start + depth
            tree_places = []
            for number, completion in enumerate(tree.completions, start=1):
                end = at + len(completion) - 1
                ids[row, at:end] = torch.tensor(completion[:-1], dtype=torch.long)
                positions[row, at:end] = torch.arange(depth, depth + end - at)
                branch[row, at:end] = number
                tree_places.append([length - (start + depth - 1), *(length - place for place in range(at, end))])
                at = end
            places.append(tree_places)
        return cls(ids, positions, branch, answer, places)

    def mask(self, dtype: torch.dtype, window: int | None = None) -> torch.Tensor:
        """[R, 1, T, T] additive attention mask: each token sees the context and its own branch, up to itself.

        Args:
            dtype: Of the mask.
            window: Sliding window, in positions: a token sees only that many, itself included.
        """
        distance_RTT = self.positions_RT[:, :, None] - self.positions_RT[:, None, :]
        of_query, of_key = self.branch_RT[:, :, None], self.branch_RT[:, None, :]
        seen = (distance_RTT >= 0) & ((of_key == 0) | (of_key == of_query)) & (of_key >= 0)
        if window is not None:
            seen &= distance_RTT < window
        # Padding sees itself: a row of nothing but masked places would be NaN in some attention kernels.
        seen |= torch.eye(seen.shape[1], dtype=torch.bool)
        mask = torch.full(seen.shape, torch.finfo(dtype).min, dtype=dtype)
        return mask.masked_fill_(seen, 0.0).unsqueeze(1)
