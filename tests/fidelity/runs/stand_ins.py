"""What some methods of PEFT read from the values of weights, for weights that have none: of the same shape, without the work.

The emulated card knows no values, and zeros on the host have neither clusters nor an inverse. Nothing here is done on the card
in the original but what is done here too, and no shape on the card follows from the values but the sizes of AdaMSS's clusters.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def put_in(method: str) -> None:
    """Put what stands in for values into the module of PEFT that has a method."""
    if method == "ADAMSS":
        from peft.tuners.adamss import layer

        layer.clustering_Z = _even_clusters
    if method == "FROD":
        from peft.tuners.frod import layer, model

        model._projection_from_weights = _projection
        layer.FrodLayer._calculate_frod_u_and_lambda = _u_and_lambda


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
