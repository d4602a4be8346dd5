"""Morphology and merger methods of the literature, written anew from their descriptions, trained and judged alike.

`Method` is what they offer, `METHODS` makes each by name.
"""

from collections.abc import Callable as _Callable

from surveycnn.evaluation.methods.apertures import Apertures as Apertures
from surveycnn.evaluation.methods.deepmerge import DeepMerge as DeepMerge
from surveycnn.evaluation.methods.ds18 import DominguezSanchez18 as DominguezSanchez18
from surveycnn.evaluation.methods.hc14_svm import HuertasCompany14 as HuertasCompany14
from surveycnn.evaluation.methods.hc15 import HuertasCompany15 as HuertasCompany15
from surveycnn.evaluation.methods.method import Method as Method
from surveycnn.evaluation.methods.sersic_images import SersicImages as SersicImages
from surveycnn.evaluation.methods.sersic_images import WholeImages as WholeImages

_ALL: tuple[type[Method], ...] = (
    DominguezSanchez18,
    HuertasCompany15,
    HuertasCompany14,
    DeepMerge,
    SersicImages,
    WholeImages,
    Apertures,
)

METHODS: dict[str, _Callable[..., Method]] = {method.name: method for method in _ALL}
