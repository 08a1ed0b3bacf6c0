"""What exactness means in these tests."""

from copy import deepcopy

import torch

from compress.pruning import slice_model
from compress.spaces import Alphas, fold_scores, sizes


def relative(found, expected):
    """Largest difference over the largest expected value."""
    return float((found - expected).abs().max() / expected.abs().max())


def check_folding(model, space, plan, x):
    """For random scores, gated equals folded; with the pruned scores at zero, gated equals folded and sliced."""
    alphas = Alphas(space.groups).double()
    generator = torch.Generator().manual_seed(8)
    scores = {name: torch.randn(n, generator=generator) for name, n in sizes(space.groups).items()}
    for pruned in (False, True):
        if pruned:
            for name, score in scores.items():
                score[[i for i in range(len(score)) if i not in plan.kept[name]]] = 0
        alphas.load_scores(scores)
        gated, folded = deepcopy(model), deepcopy(model)
        alphas.attach(gated)
        fold_scores(folded, space, scores)
        assert relative(folded(x), model(x)) > 1e-3
        assert relative(folded(x), gated(x)) <= 1e-12
        if pruned:
            assert relative(slice_model(folded, space, plan)[0](x), gated(x)) <= 1e-12
