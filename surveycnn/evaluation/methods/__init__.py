"""Methods of the literature for morphology, mergers and redshifts, written anew from their papers, trained and judged alike.

`Method` is what they offer, `METHODS` makes each by name.
"""

from collections.abc import Callable as _Callable

from surveycnn.evaluation.methods.apertures import Apertures as Apertures
from surveycnn.evaluation.methods.binned_redshifts import Binned as Binned
from surveycnn.evaluation.methods.dcmdn import DIsanto18 as DIsanto18
from surveycnn.evaluation.methods.deepmerge import DeepMerge as DeepMerge
from surveycnn.evaluation.methods.ds18 import DominguezSanchez18 as DominguezSanchez18
from surveycnn.evaluation.methods.flux_knn import NearestFluxes as NearestFluxes
from surveycnn.evaluation.methods.flux_mdn import FluxMixture as FluxMixture
from surveycnn.evaluation.methods.hc14_svm import HuertasCompany14 as HuertasCompany14
from surveycnn.evaluation.methods.hc15 import HuertasCompany15 as HuertasCompany15
from surveycnn.evaluation.methods.method import Method as Method
from surveycnn.evaluation.methods.pasquet19 import Pasquet19 as Pasquet19
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
    Pasquet19,
    DIsanto18,
    Binned,
    FluxMixture,
    NearestFluxes,
)

METHODS: dict[str, _Callable[..., Method]] = {method.name: method for method in _ALL}
