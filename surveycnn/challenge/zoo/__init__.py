"""The zoo: lens finders of the literature with a public description, written anew, trained and scored alike.

`Method` is what they offer, `METHODS` makes each by name. The figures that each had in the challenge of Metcalf et al. (2019)
stand in `published`: they were measured on other images and are no target for these.
"""

from collections.abc import Callable as _Callable

from surveycnn.challenge.zoo.arc_finder import ArcFinder as ArcFinder
from surveycnn.challenge.zoo.cmu_deeplens import CMUDeepLens as CMUDeepLens
from surveycnn.challenge.zoo.edges_logistic import EdgesLogistic as EdgesLogistic
from surveycnn.challenge.zoo.gabor_svm import GaborSVM as GaborSVM
from surveycnn.challenge.zoo.method import Method as Method
from surveycnn.challenge.zoo.method import Published as Published
from surveycnn.challenge.zoo.plain_cnn import PlainCNN as PlainCNN
from surveycnn.challenge.zoo.ringfinder import RingFinder as RingFinder

METHODS: dict[str, _Callable[..., Method]] = {
    method.name: method for method in (CMUDeepLens, PlainCNN, GaborSVM, EdgesLogistic, ArcFinder, RingFinder)
}
