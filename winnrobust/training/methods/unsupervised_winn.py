"""WINN without labels: the Wasserstein loss with gradient penalty (paper Eq. 5)."""

from winnrobust.training.methods.unsupervised import UnsupervisedIntrospective


class UnsupervisedWinn(UnsupervisedIntrospective):
    """The critic is lowered on pseudo-negatives and raised on real images, with slope 1 between."""

    uses = UnsupervisedIntrospective.uses | {"gp_weight"}
