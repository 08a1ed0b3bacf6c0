"""A checkpoint of RGB images in a network of grey levels or of four channels: what its first convolution becomes."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

RGB = 3


def with_channels_of(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """`state` with the convolution of RGB images that `own` has of other channels adapted, and its name.

    timm's rule: for one channel the weights are summed, so that a grey image gives what it gave as RGB; for four they
    are repeated from the first and scaled by 3/4. The name is "" where there is none: nothing is changed.

    Example::

        state, stem = with_channels_of(network.state_dict(), model.state_dict())
    """
    found = [name for name, weight in own.items() if name in state and _reads_other_channels(weight, state[name])]
    if len(found) != 1:
        return dict(state), ""
    from timm.models import adapt_input_conv

    (stem,) = found
    return {**state, stem: adapt_input_conv(own[stem].shape[1], state[stem])}, stem


def _reads_other_channels(weight: Tensor, given: Tensor) -> bool:
    """Whether `given` is `weight` but for reading RGB: a convolution of all channels at once."""
    if weight.dim() != 4 or given.dim() != 4 or given.shape[1] != RGB or weight.shape[1] not in (1, 4):
        return False
    return weight.shape[0] == given.shape[0] and weight.shape[2:] == given.shape[2:]
