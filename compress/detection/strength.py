"""How far a detector's search can move its scores, known before it begins (docs/method.md, search strength)."""

from __future__ import annotations

from ..engine.settings import SearchConfig, method_of, penalty_of
from ..penalties import L1

AIM = 3.5
"""The strength that settings are proposed for: within the thesis's 3 to 7, and what CIFAR-10's recipes are tuned at."""

USUAL = (1.0, 10.0)
"""Below, scores cannot travel from 1 to 0; far above, nearly all of them reach 0, and what is left of a ranking is
noise."""


def strength_note(search: SearchConfig, images: int, processes: int) -> str | None:
    """A line that proposes another gamma, where `search` on so many training `images` is of an unusual strength.

    None where it is a usual one, and where strength has no meaning: without an l1 penalty, for an optimiser of scores
    that rescales gradients, and under a schedule of the config's own.
    """
    method, penalty, settings = method_of(search), penalty_of(search).name, search.alpha_optimizer
    if settings["type"] != "SGD" or penalty not in ("subgradient", "proximal") or search.schedule != "cosine":
        return None
    if not method.takes(penalty_of(search)) or not search.gamma:
        return None
    steps = search.epochs * ((images // 2 if method.halves else images) // (search.batch_size * processes))
    acting = L1(1.0, "proximal" if penalty == "proximal" else "subgradient")
    travelled = acting.strength(settings.get("lr", 1e-3) * steps / 2, settings.get("momentum", 0.0))
    if not travelled or USUAL[0] <= (strength := search.gamma * travelled) <= USUAL[1]:
        return None
    return (
        f"search.gamma = {search.gamma:g}: {steps} steps make a search of strength {strength:.2g}, usual is 3 to 7; "
        f"search.gamma={AIM / travelled:.2g} makes it {AIM:g} (docs/method.md)"
    )
