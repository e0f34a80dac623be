"""Runs the base and its heads over questions: the engine behind every likelihood."""

import inspect
import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from likra.errors import InputError
from likra.heads.base import Base, last_logits
from likra.heads.stack import HeadStack
from likra.likelihood.table import BASE, Likelihoods
from likra.likelihood.tree import Tree, TreeRows, plant
from likra.questions.prompts import Prompter
from likra.questions.question import Question
from likra.questions.tokens import TokenPair, encode_pairs

logger = logging.getLogger(__name__)

BATCH_TOKENS = 8192  # tokens of one batch, padding and all heads included
BATCH_LOGITS = 2**27  # vocabulary logits of one batch (512 MiB in float32)
_SHARES = "_likra_can_share"  # set on the model: what trying it found
_PROBE_TOLERANCE = {torch.float32: 1e-3}  # nats; half precision gets more
_KNOWN_LAYERS = {"full_attention", "sliding_attention"}  # what attention_masks can express
_UNKNOWN_WINDOWS = ("attention_chunk_size", "attention_types")  # Llama 4's chunks, GPT-Neo's local layers


def score(
    base: Base,
    stack: HeadStack | None,
    questions: Sequence[Question],
    prompter: Prompter,
    heads: Sequence[str] = (BASE,),
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
    meta: dict[str, Any] | None = None,
) -> Likelihoods:
    """Log-likelihoods of every choice of every question under `heads`.

    Each distinct context is read once per head for all of its candidates; all heads are in the same batch; log-softmax
    is taken in float32. Heads that are the same function, bit for bit, are run once, so that their likelihoods are
    equal to the last bit (design idea 4).

    Args:
        base: The base model.
        stack: The heads, or None where only the base is asked.
        questions: The questions; choices may differ in number.
        prompter: Words them.
        heads: Names of heads in `stack`, and `base` for the plain base.
        progress: Called with (questions done, questions in all) after each batch.
        meta: Kept in the table.

    Raises:
        InputError: A candidate cannot be tokenized, is longer than the model's context, or a likelihood is not finite.
    """
    if not questions:
        raise InputError("there are no questions to judge.")
    pairs = [encode_question(base, question, prompter) for question in questions]
    distinct = _distinct(stack, heads)
    logprobs = _run(base, stack, pairs, list(dict.fromkeys(distinct.values())), progress)

    shape = (len(questions), max(len(question.choices) for question in questions))
    table = Likelihoods(
        tuple(heads),
        list(questions),
        np.full((len(heads), *shape), np.nan),
        np.zeros(shape, dtype=np.int64),
        np.zeros(shape, dtype=np.int64),
        dict(meta or {}),
    )
    for row, places in enumerate(pairs):
        for column, pair in enumerate(places):
            table.tokens_QC[row, column] = len(pair.completion)
            table.cut_QC[row, column] = pair.cut
            for index, name in enumerate(heads):
                value = logprobs[distinct[name]][pair.context, pair.completion]
                if not np.isfinite(value):
                    raise InputError(
                        f"question {questions[row].id!r}, choice {column}: its log-likelihood under {name!r} is "
                        f"{value}; load the model with --dtype float32."
                    )
                table.logprob_HQC[index, row, column] = value
    return table


def encode_question(base: Base, question: Question, prompter: Prompter) -> list[TokenPair]:
    """Tokens of every choice of a question, with its prompt."""
    worded = prompter.pairs(question)
    completions: dict[str, list[str]] = {}
    for context, completion in worded:
        completions.setdefault(context, []).append(completion)
    try:
        encoded = {
            context: iter(encode_pairs(base.tokenizer, context, texts, base.max_length))
            for context, texts in completions.items()
        }
    except InputError as error:
        raise InputError(f"question {question.id!r}: {error}") from None
    return [next(encoded[context]) for context, _ in worded]


def _distinct(stack: HeadStack | None, heads: Sequence[str]) -> dict[str, str]:
    """For each head, the first of `base` and the heads that is the same function."""
    first: dict[str, str] = {}
    for name in heads:
        if name == BASE:
            first[name] = BASE
            continue
        if stack is None:
            raise InputError(f"no heads are loaded; {name!r} cannot be asked.")
        if stack.same(name, None):
            first[name] = BASE
        else:
            first[name] = next((other for other in first if other != BASE and stack.same(name, other)), name)
    return first


_Key = tuple[tuple[int, ...], tuple[int, ...]]


def _run(
    base: Base,
    stack: HeadStack | None,
    pairs: list[list[TokenPair]],
    names: list[str],
    progress: Callable[[int, int], None],
) -> dict[str, dict[_Key, float]]:
    share = can_share(base)
    trees = plant(pairs, share=share)
    results: dict[str, dict[_Key, float]] = {name: {} for name in names}
    # The base's rows come first, as the layers expect.
    groups = [name for name in names if name == BASE] + [name for name in names if name != BASE]
    done = 0
    progress(0, len(pairs))
    for batch in _batches(trees, len(groups), base.model.config.get_text_config().vocab_size):
        values = _run_batch(base, stack, batch, groups, share)
        for name, rows in zip(groups, values, strict=True):
            for tree, row in zip(batch, rows, strict=True):
                results[name].update({(tree.context, c): value for c, value in zip(tree.completions, row, strict=True)})
        done += len(batch)
        progress(len(pairs) * done // len(trees), len(pairs))
    return results


def _batches(trees: list[Tree], groups: int, vocabulary: int) -> Iterator[list[Tree]]:
    """Batches of trees (sorted by length, longest first) within the bounds on tokens and logits."""
    batch: list[Tree] = []
    kept = 0
    for tree in trees:
        kept = max(kept, tree.kept)
        rows = groups * (len(batch) + 1)
        longest = batch[0].length if batch else tree.length
        if batch and (rows * longest > BATCH_TOKENS or rows * kept * vocabulary > BATCH_LOGITS):
            yield batch
            batch, kept = [], tree.kept
        batch.append(tree)
    if batch:
        yield batch


@torch.inference_mode()
def _run_batch(
    base: Base, stack: HeadStack | None, trees: list[Tree], groups: list[str], share: bool
) -> list[list[list[float]]]:
    """Summed log-likelihoods, [group][tree][completion]."""
    rows = TreeRows.of(trees)
    keep = max(tree.kept for tree in trees)
    copies = len(groups)
    inputs: dict[str, Any] = {"input_ids": rows.ids_RT.repeat(copies, 1)}
    inputs["position_ids"] = rows.positions_RT.repeat(copies, 1)
    if share:
        inputs["attention_mask"] = attention_masks(base, rows, copies)
    else:
        inputs["attention_mask"] = (rows.branch_RT >= 0).long().repeat(copies, 1)
    inputs = {key: _to(value, base.device) for key, value in inputs.items()}
    active = [name for name in groups if name != BASE]
    if stack is None or not active:
        logits = last_logits(base.model, keep, **inputs)
    else:
        answer_RT = rows.answer_RT.repeat(copies, 1).to(base.device)
        with stack.active(active, base_first=BASE in groups, answer_RT=answer_RT):
            logits = last_logits(base.model, keep, **inputs)
    return _gather(logits, trees, rows, copies)


def _gather(logits_RKV: torch.Tensor, trees: list[Tree], rows: TreeRows, copies: int) -> list[list[list[float]]]:
    places: list[tuple[int, int]] = []
    targets: list[int] = []
    owners: list[int] = []
    owner = 0
    for row, tree in enumerate(trees):
        for completion, at in zip(tree.completions, rows.places[row], strict=True):
            places += [(row, logits_RKV.shape[1] - place) for place in at]
            targets += completion
            owners += [owner] * len(completion)
            owner += 1
    index = torch.tensor(places, device=logits_RKV.device).T
    target = torch.tensor(targets, device=logits_RKV.device)
    logits_GRKV = logits_RKV.unflatten(0, (copies, len(trees)))
    result = []
    for logits in logits_GRKV:
        chosen_NV = logits[index[0], index[1]].float()
        logprob_N = chosen_NV.gather(1, target[:, None])[:, 0] - chosen_NV.logsumexp(1)
        sums = np.bincount(owners, weights=logprob_N.double().cpu().numpy(), minlength=owner).tolist()
        flat = iter(sums)
        result.append([list(itertools.islice(flat, len(tree.completions))) for tree in trees])
    return result


def attention_masks(base: Base, rows: TreeRows, copies: int) -> torch.Tensor | dict[str, torch.Tensor]:
    """The masks that the model's layers take: one, or one per kind of layer where it has several."""
    config = base.model.config.get_text_config()
    dtype = base.model.dtype
    window = getattr(config, "sliding_window", None)
    kinds = set(getattr(config, "layer_types", None) or ())
    if kinds <= {"full_attention", "sliding_attention"} and "full_attention" in kinds:
        # Qwen3, Gemma 3 and others: a mask per kind of layer. A model that has full layers only reads the first.
        masks = {"full_attention": rows.mask(dtype).repeat(copies, 1, 1, 1)}
        if "sliding_attention" not in kinds:
            return masks["full_attention"]
        return {**masks, "sliding_attention": rows.mask(dtype, window).repeat(copies, 1, 1, 1)}
    return rows.mask(dtype, window).repeat(copies, 1, 1, 1)


def can_share(base: Base) -> bool:
    """Whether candidates can share one reading of their prompt, found by trying it once on a few tokens.

    A model that ignores the mask or positions that sharing needs (a recurrent state, say) reads every candidate on its
    own instead; a warning says so.
    """
    known = getattr(base.model, _SHARES, None)
    if known is None:
        known = _probe(base)
        setattr(base.model, _SHARES, known)
        if not known:
            logger.warning(
                "%s cannot share one reading of a prompt among its candidates; each is read on its own (slower).",
                type(base.model).__name__,
            )
    return bool(known)


@torch.inference_mode()
def _probe(base: Base) -> bool:
    config = base.model.config.get_text_config()
    if set(getattr(config, "layer_types", None) or ()) - _KNOWN_LAYERS or any(
        getattr(config, name, None) is not None for name in _UNKNOWN_WINDOWS
    ):
        return False
    if "position_ids" not in inspect.signature(base.model.forward).parameters:
        return False
    ids = ((5, 7, 11, 13), (17, 19, 23), (29, 31))
    context, one, two = (tuple(n % config.vocab_size for n in some) for some in ids)
    shared = Tree(context, (one, two))
    try:
        [[together]] = _run_batch(base, None, [shared], [BASE], share=True)
    except (TypeError, ValueError, RuntimeError, IndexError, KeyError, AttributeError):
        return False
    # One row at a time: nothing is padded, so this is the model's plain reading.
    alone = [_run_batch(base, None, [Tree(context, (c,))], [BASE], share=False)[0][0][0] for c in (one, two)]
    tolerance = _PROBE_TOLERANCE.get(base.model.dtype, 0.25)
    return bool(np.allclose(together, alone, atol=tolerance, rtol=0))


def _to(value: Any, device: torch.device) -> Any:
    return {key: item.to(device) for key, item in value.items()} if isinstance(value, dict) else value.to(device)
