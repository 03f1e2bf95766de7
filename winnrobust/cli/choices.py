"""What help and lists name, as plain text: what it comes from imports torch, which takes seconds.

`tests/cli/test_quick.py` compares each with the registry that it stands for.
"""

from typing import NamedTuple

DATASETS = ("mnist", "fashion-mnist", "svhn", "cifar10", "cifar10-20k", "mnist5k")
ARCHITECTURES = (
    "vanilla",
    "resnet32",
    "resnet20",
    "resnet13",
    "densenet20",
    "cnn64",
    "wgan-resnet",
)
METHODS = (
    "baseline", "winn", "pgd-at", "trades", "icn", "gdl", "dcgan-negatives", "inn", "wgan-gp",
)  # fmt: skip
INITIAL = ("projected", "appendix-d", "gaussian")
TEXTURES = ("grass", "gravel", "brick")
TARGETS = ("random", "least-likely")
NOISE = {"none": 0.0, "langevin": 0.01, "dropout": 0.1}
FORMATS = ("html", "md", "tex", "csv", "json")
DETECTION_STEPS = 40
TABLES = ("table2", "table3", "table4", "table4-cifar10")
BUDGETS = {
    "quick": "minutes on two CPU cores, on 3,500 training images (for MNIST, the built-in ones)",
    "cpu": "a night on two CPU cores, with all training images, the fast recipe, and few epochs",
    "paper": "the full recipe of the paper, for a GPU",
}


class Listed(NamedTuple):
    """An attack, as `winnrobust attacks` lists it."""

    name: str
    norms: str
    access: str
    cost: str
    also: str
    source: str


ATTACKS = (
    Listed("noise-uniform", "linf", "none", "10 queries", "targeted",
           "a control"),
    Listed("noise-gaussian", "l2", "none", "10 queries", "targeted",
           "a control"),
    Listed("fgsm", "linf", "white-box", "1 gradient", "targeted",
           "Goodfellow, Shlens, Szegedy 2015, arXiv:1412.6572"),
    Listed("rfgsm", "linf", "white-box", "1 gradient", "targeted",
           "Tramèr et al. 2018, arXiv:1705.07204"),
    Listed("bim", "linf", "white-box", "10 gradients", "targeted",
           "Kurakin, Goodfellow, Bengio 2016, arXiv:1607.02533"),
    Listed("mifgsm", "linf", "white-box", "10 gradients", "targeted",
           "Dong, Liao, Pang, Su, Zhu, Hu, Li 2018, arXiv:1710.06081"),
    Listed("pgd", "linf, l2", "white-box", "20 gradients", "targeted",
           "Madry, Makelov, Schmidt, Tsipras, Vladu 2018, arXiv:1706.06083"),
    Listed("pgd-l2", "l2", "white-box", "20 gradients", "targeted",
           "Madry, Makelov, Schmidt, Tsipras, Vladu 2018, arXiv:1706.06083"),
    Listed("apgd-ce", "linf, l2, l1", "white-box", "100 gradients", "targeted",
           "Croce, Hein 2020, arXiv:2003.01690; in L1 2021, arXiv:2103.01208"),
    Listed("apgd-t", "linf, l2, l1", "white-box", "9 x 100 gradients", "targeted",
           "Croce, Hein 2020, arXiv:2003.01690; in L1 2021, arXiv:2103.01208"),
    Listed("fab", "linf, l2, l1", "white-box", "9 x 100 gradients and queries",
           "targeted, distances", "Croce, Hein 2020, arXiv:1907.02044"),
    Listed("square", "linf, l2, l1", "black-box", "5000 queries", "targeted",
           "Andriushchenko, Croce, Flammarion, Hein 2020, arXiv:1912.00049"),
    Listed("autoattack", "linf, l2, l1", "white-box", "up to 1900 gradients, 5900 queries",
           "targeted", "Croce, Hein 2020, arXiv:2003.01690"),
    Listed("aa-fast", "linf, l2, l1", "white-box", "up to 320 gradients, 1000 queries", "targeted",
           "this toolkit, after Croce, Hein 2020, arXiv:2003.01690 and others"),
    Listed("deepfool", "l2", "white-box", "up to 9 x 50 gradients, 50 queries", "distances",
           "Moosavi-Dezfooli, Fawzi, Frossard 2016, arXiv:1511.04599"),
    Listed("cw-l2", "l2", "white-box", "9 x 200 gradients", "targeted, distances",
           "Carlini, Wagner 2017, arXiv:1608.04644"),
    Listed("ddn", "l2", "white-box", "100 gradients", "targeted, distances",
           "Rony et al. 2019, arXiv:1811.09600"),
    Listed("fmn", "linf, l2, l1, l0", "white-box", "100 gradients", "targeted, distances",
           "Pintor, Roli, Brendel, Biggio 2021, arXiv:2102.12827"),
    Listed("sigma-zero", "l0", "white-box", "1000 gradients", "targeted, distances",
           "Cinà et al. 2025, arXiv:2402.01879"),
    Listed("hopskipjump", "l2", "black-box", "5000 queries", "distances",
           "Chen, Jordan, Wainwright 2020, arXiv:1904.02144"),
    Listed("spatial", "spatial", "black-box", "775 queries", "targeted",
           "Engstrom, Tran, Tsipras, Schmidt, Madry 2019, arXiv:1712.02779"),
    Listed("patch", "patch", "white-box", "up to 201 gradients, 50 queries", "targeted",
           "Karmon et al. 2018, arXiv:1801.02608; Rao, Stutz, Schiele 2020, arXiv:2005.02313"),
    Listed("transfer:NAME", "linf", "transfer", "10 gradients of another model", "targeted",
           "Papernot, McDaniel, Goodfellow 2016, arXiv:1605.07277; Dong et al. 2018"),
)  # fmt: skip
CORRUPTIONS = (
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur",
    "zoom_blur", "snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate",
    "jpeg_compression",
)  # fmt: skip
