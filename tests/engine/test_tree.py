"""Trees against sets of prefixes, worked out by hand."""

from hypothesis import given
from hypothesis import strategies as st

from likra.engine.tree import Tree

SEQUENCES = st.lists(
    st.tuples(st.lists(st.integers(0, 3), min_size=1, max_size=8), st.integers(0, 8)).map(
        lambda pair: (tuple(pair[0]), min(pair[1], len(pair[0])))
    ),
    min_size=1,
    max_size=12,
)


@given(SEQUENCES)
def test_a_node_for_every_distinct_prefix(sequences: list[tuple[tuple[int, ...], int]]) -> None:
    tree = Tree.of(sequences)
    # A prefix is its tokens, each with whether it is read by every head for itself.
    coded = [tuple((token, place >= shared) for place, token in enumerate(ids)) for ids, shared in sequences]
    prefixes = {code[: n + 1] for code in coded for n in range(len(code))}
    assert len(tree) == len(prefixes)
    for path, code in zip(tree.paths, coded, strict=True):
        assert [(tree.tokens_N[node], tree.adapter_N[node]) for node in path] == list(code)
        assert [tree.depth_N[node] for node in path] == list(range(len(code)))
        for place, node in enumerate(path):
            assert list(tree.ancestors(int(node))) == list(path[:place])
    # Descendants by end_N are the nodes whose path runs through.
    through: dict[int, set[int]] = {}
    for path in tree.paths:
        for place, node in enumerate(path):
            through.setdefault(int(node), set()).update(map(int, path[place:]))
    for node, below in through.items():
        assert below == set(range(node, int(tree.end_N[node])))


@given(SEQUENCES, st.randoms(use_true_random=False))
def test_the_order_of_the_sequences_changes_nothing(sequences: list[tuple[tuple[int, ...], int]], rng: object) -> None:
    one = Tree.of(sequences)
    shuffled = sequences * 2
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    other = Tree.of(shuffled)
    assert one.tokens_N.tolist() == other.tokens_N.tolist() and one.end_N.tolist() == other.end_N.tolist()


def test_a_tree_by_hand() -> None:
    tree = Tree.of([((1, 2, 3), 2), ((1, 2, 4), 2), ((1,), 1), ((1, 2), 1)])
    #  1 (shared) - 2 (shared) - 3 and 4 (own); and 2 as an own token: a node apart
    assert tree.tokens_N.tolist() == [1, 2, 3, 4, 2]
    assert tree.adapter_N.tolist() == [False, False, True, True, True]
    assert tree.end_N.tolist() == [5, 4, 3, 4, 5]
    assert tree.depth_N.tolist() == [0, 1, 2, 2, 1]
