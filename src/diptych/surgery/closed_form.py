"""Where learning may begin instead of at chance: what text and body say already, solved for in closed form.

A small network on little text spends most of its time on finding out which tokens are alike and how frequent each is. Both
can be counted. `begin_embeddings` gives tokens that keep company with the same tokens vectors that point the same way; and
`begin_language_head` draws the straight line from the vector at a place to the embedding of the token that belongs there,
the one that errs least (ridge regression), measured by how the embeddings themselves spread, with the tokens' frequencies as
its bias. A language head consists of just such a matrix and such a bias. The second serves a body that lost its head as
well (MiniLM, or any `BertModel`): much of the answer lies in it already.

BERT's and ModernBERT's heads have an activation and a layer norm in between. A shift lifts the features to where the
activation is a straight line too, and the norm takes the shift away again.
"""

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.models.heads import LanguageHead, Transform
from diptych.models.transformer import Network

LIFT = 5.0
"""In standard deviations of the features: from there on GELU and SiLU are straight to some hundredths."""
RIDGE = 0.1
"""Added to the covariance of the vectors, as a share of their mean variance: places are few for a matrix of D x D."""
UNSEEN = 0.5
"""How often a token that never occurred is taken to have occurred."""
SCALES = (0.1, 0.25, 0.35, 0.5, 0.7, 1.0, 1.4)
"""How far the features are trusted, as the standard deviation of the logits; the likeliest is taken."""
MOST_JUDGED = 1024
NEAR = 4
"""Tokens so far apart keep company; a neighbour counts 1, the next one 1/2, and so on."""
MOST_COUNTED = 5_000_000
"""So many tokens of a corpus are counted."""
# Shapes: M places, D hidden, V vocabulary.


@torch.no_grad()
def begin_language_head(head: LanguageHead, embedding_VD: Tensor, places: Iterable[tuple[Tensor, Tensor]], counts_V: Tensor) -> int:
    """Set the weights of `head` from vectors and the tokens that belong where they stand; how many there were.

    A head without a matrix of its own (GPT-2's, tied) or with a norm that keeps the shift (RMS) is left as it is: 0.

    Args:
        embedding_VD: the embedding of the body's tokens.
        places: batches of (float [M, D], the vectors as the head will be given them; int64 [M], the tokens).
        counts_V: how often each token occurs in the text, of which the places are a part.
    """
    transform, is_tied = head.transform, head.weight_VD is embedding_VD
    if (isinstance(transform, Transform) and not isinstance(transform.norm, nn.LayerNorm)) or (
        not isinstance(transform, Transform) and is_tied
    ):
        return 0
    found = [(hidden_MD.float(), gold_M) for hidden_MD, gold_M in places if len(gold_M)]
    if not found:
        return 0
    h_MD, gold_M = torch.cat([hidden for hidden, _gold in found]), torch.cat([gold for _hidden, gold in found])
    chances_V = torch.log((counts_V + UNSEEN) / (counts_V + UNSEEN).sum()).to(embedding_VD.device)
    # How far the line is to be trusted is asked at places that it was not drawn from.
    num_judged = min(MOST_JUDGED, len(gold_M) // 5)
    judged, answers = h_MD[:num_judged], gold_M[:num_judged]
    line_DD = _line(h_MD[num_judged:], embedding_VD[gold_M[num_judged:]].float())
    if isinstance(transform, Transform):
        _set_transform(transform, line_DD, h_MD)
        scale = _likeliest_scale(transform(judged) @ embedding_VD.float().T, chances_V, answers)
        assert isinstance(transform.norm, nn.LayerNorm)
        nn.init.constant_(transform.norm.weight, scale)
        if not is_tied:
            head.weight_VD.copy_(embedding_VD)
    else:
        answering_VD = embedding_VD.float() @ line_DD.T
        answering_VD *= _likeliest_scale((judged - h_MD.mean(0)) @ answering_VD.T, chances_V, answers)
        head.weight_VD.copy_(answering_VD + torch.outer(chances_V - answering_VD @ h_MD.mean(0), _one(h_MD)))
    if head.bias_V is not None:
        head.bias_V.copy_(chances_V if isinstance(transform, Transform) else torch.zeros_like(chances_V))
    return len(gold_M)


@torch.no_grad()
def begin_embeddings(net: Network, tokens: np.ndarray, borders: np.ndarray) -> None:
    """Set the embeddings of a fresh network to `embeddings_from_counts`, as large as chance would have drawn them."""
    weight_VD = net.body.embedding.tokens.weight
    vectors = embeddings_from_counts(tokens, borders, *weight_VD.shape)
    weight_VD.copy_(torch.from_numpy(vectors * net.config.initializer_range))


def embeddings_from_counts(tokens: np.ndarray, borders: np.ndarray, vocab_size: int, size: int) -> np.ndarray:
    """Vectors of tokens that keep company with the same tokens point the same way: float32 [V, size], of mean square 1.

    The positive pointwise mutual information of tokens within `NEAR` of each other, its contexts smoothed to the power 0.75,
    cut to its largest singular values, whose square roots weigh the two sides alike (Levy, Goldberg and Dagan 2015).

    Args:
        tokens: the tokens of a corpus in a row; borders: int64 [documents + 1], across which nobody keeps company.
    """
    import scipy.sparse as sparse
    from sklearn.utils.extmath import randomized_svd

    tokens = np.asarray(tokens[:MOST_COUNTED], dtype=np.int64)
    documents = np.searchsorted(borders, np.arange(len(tokens)), side="right")
    counts = sparse.csr_matrix((vocab_size, vocab_size), dtype=np.float32)
    for distance in range(1, NEAR + 1):
        is_near = documents[:-distance] == documents[distance:]
        first, second = tokens[:-distance][is_near], tokens[distance:][is_near]
        weights = np.full(len(first), 1 / distance, dtype=np.float32)
        pairs = sparse.csr_matrix((weights, (first, second)), shape=(vocab_size, vocab_size))
        counts = counts + pairs + pairs.T
    of_token = np.maximum(np.asarray(counts.sum(1)).ravel(), 1e-9)
    of_context = of_token**0.75
    of_context *= of_token.sum() / of_context.sum()
    found = counts.tocoo()
    information = np.log(found.data * of_token.sum() / (of_token[found.row] * of_context[found.col]))
    is_more = information > 0
    places = (found.row[is_more], found.col[is_more])
    table = sparse.csr_matrix((information[is_more].astype(np.float32), places), shape=(vocab_size, vocab_size))
    left, values, _right = randomized_svd(table, min(size, vocab_size), n_iter=2, random_state=0)  # type: ignore[arg-type]
    vectors = np.zeros((vocab_size, size), dtype=np.float32)
    vectors[:, : len(values)] = left * np.sqrt(values)
    return vectors / max(1e-9, float(np.sqrt((vectors**2).mean())))


def _line(h_MD: Tensor, e_MD: Tensor) -> Tensor:
    """[D, D], so that the products of (h - mean) F with the embeddings tell which token belongs to h."""
    hidden_MD, embedded_MD = h_MD - h_MD.mean(0), e_MD - e_MD.mean(0)
    spread_DD = hidden_MD.T @ hidden_MD / len(h_MD)
    guess_DD = torch.linalg.solve(_with_ridge(spread_DD, RIDGE), hidden_MD.T @ embedded_MD / len(h_MD))
    # A direction in which all embeddings differ says less of a token than one in which few do.
    return guess_DD @ torch.linalg.inv(_with_ridge(embedded_MD.T @ embedded_MD / len(h_MD), 1.0))


def _set_transform(transform: Transform, line_DD: Tensor, h_MD: Tensor) -> None:
    """dense, activation and norm so that what comes out is (h - mean) F, each vector brought to the same length."""
    size = ((h_MD - h_MD.mean(0)) @ line_DD).std().clamp(min=1e-12)
    weight_DD = line_DD.T / size
    shift_D = LIFT - weight_DD @ h_MD.mean(0)
    if transform.dense.bias is not None:
        transform.dense.bias.copy_(shift_D)
    else:
        weight_DD = weight_DD + torch.outer(shift_D, _one(h_MD))
    transform.dense.weight.copy_(weight_DD)
    assert isinstance(transform.norm, nn.LayerNorm)
    nn.init.ones_(transform.norm.weight)
    if transform.norm.bias is not None:
        nn.init.zeros_(transform.norm.bias)


def _one(h_MD: Tensor) -> Tensor:
    """The vector u for which h u is nearest to 1: what stands in for a bias where there is none: [D]."""
    second_DD = h_MD.T @ h_MD / len(h_MD)
    return torch.linalg.solve(_with_ridge(second_DD, 1e-4), h_MD.mean(0))


def _likeliest_scale(logits_MV: Tensor, chances_V: Tensor, gold_M: Tensor) -> float:
    """What the logits are to be multiplied by, so that the tokens that belong there are likeliest."""
    if not len(gold_M):
        return SCALES[0]
    size = float(logits_MV.std().clamp(min=1e-12))
    nats = [float(F.cross_entropy(logits_MV * (scale / size) + chances_V, gold_M)) for scale in SCALES]
    return SCALES[nats.index(min(nats))] / size


def _with_ridge(matrix_DD: Tensor, share: float) -> Tensor:
    mean = matrix_DD.diagonal().mean().clamp(min=1e-12)
    return matrix_DD + share * mean * torch.eye(len(matrix_DD), device=matrix_DD.device)
