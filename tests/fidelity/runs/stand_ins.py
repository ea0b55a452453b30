"""What some methods of PEFT read from the values of weights, for weights that have none: of the same shape, without the work.

The emulated card knows no values, and zeros on the host have neither clusters nor an inverse. Nothing here is done on the card
in the original but what is done here too, and no shape on the card follows from the values but the sizes of AdaMSS's clusters.
BOFT would have a kernel compiled for each run, and goes on without it where that fails, as it does with torch 2.13.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable


def put_in(method: str) -> None:
    """Put what stands in for values into the module of PEFT that has a method."""
    if method == "ADAMSS":
        from peft.tuners.adamss import layer

        layer.clustering_Z = _even_clusters
    if method == "BOFT":
        from peft.tuners.boft import layer

        layer.get_fbd_cuda = lambda: None
    if method == "FROD":
        from peft.tuners.frod import layer, model

        model._projection_from_weights = _projection
        layer.FrodLayer._calculate_frod_u_and_lambda = _u_and_lambda
    if method == "SHIRA":
        from peft.tuners.shira import layer

        layer.ShiraLayer.update_layer = _with_mask_of_host(layer.ShiraLayer.update_layer)


def _even_clusters(rows: Tensor, clusters: int, _iterations: int) -> tuple[Tensor, int]:
    """Return for each row its cluster, all of one size, and how many there are; scikit-learn's K-means has others."""
    count = min(clusters, len(rows.detach().cpu()))
    return torch.arange(len(rows)) % count, count


def _projection(matrices: list[Tensor], _regularization: float) -> Tensor:
    """Return a square matrix on the host for the layers' weights, which are on the host too."""
    columns = matrices[0].shape[1]
    return torch.zeros(columns, columns)


def _u_and_lambda(_layer: Any, projection: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return a matrix like the weight and a number for each column; the weight leaves the card in 64 bits, as there."""
    on_host = weight.detach().to(torch.float64).cpu()
    return torch.zeros(on_host.shape), torch.zeros(len(projection))


def _with_mask_of_host(update_layer: Callable[..., None]) -> Callable[..., None]:
    """Return SHiRA's method with another mask: as many of its places are true as on the card, where nobody knows which."""

    def with_mask_of_host(layer: Any, adapter: str, mask: Tensor, rank: int, *args: Any, **kwargs: Any) -> None:
        on_host = torch.zeros(mask.shape, dtype=mask.dtype)
        on_host.view(-1)[: rank * sum(mask.shape)] = 1
        update_layer(layer, adapter, on_host, rank, *args, **kwargs)
        layer.shira_indices[adapter] = layer.shira_indices[adapter].to(mask.device)

    return with_mask_of_host
