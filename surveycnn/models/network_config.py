"""The configuration of a network from a stranger: which classes of Keras it may name, and how much it may ask for.

Keras would build any of its classes that a file names, among them some that run code, open files or load libraries, and its
``safe_mode`` knows but some of them. A list of what convolutional networks and transformers need stays short.
"""

from __future__ import annotations

import json
import re
from typing import Any

from surveycnn.errors import ModelError

_MAX_BYTES = 16 << 20
_MAX_DEPTH = 100
_MAX_CALLS = 20_000
"""Calls of layers; a network may call a network that calls a network, each many times."""

_LAYERS = (
    "Activation Add AdaptiveAveragePooling2D AdaptiveMaxPooling2D AdditiveAttention AlphaDropout Attention Average "
    "AveragePooling1D AveragePooling2D BatchNormalization CenterCrop Concatenate Conv1D Conv2D Conv2DTranspose Cropping2D Dense "
    "DepthwiseConv2D Dot Dropout ELU EinsumDense Embedding Flatten GaussianDropout GaussianNoise GlobalAveragePooling1D "
    "GlobalAveragePooling2D GlobalMaxPooling1D GlobalMaxPooling2D GroupNormalization GroupQueryAttention Identity InputLayer "
    "LayerNormalization LeakyReLU MaxPooling1D MaxPooling2D Maximum Minimum MultiHeadAttention Multiply Normalization PReLU "
    "Permute RMSNormalization RandomContrast RandomCrop RandomFlip RandomRotation RandomTranslation RandomZoom ReLU RepeatVector "
    "Rescaling Reshape Resizing SeparableConv2D Softmax SpatialDropout2D Subtract UnitNormalization UpSampling2D ZeroPadding2D"
)
_OPERATIONS = {
    "numpy": (
        "Abs Absolute Add All Amax Amin Any Arccos Arccosh Arcsin Arcsinh Arctan Arctan2 Arctanh Average BroadcastTo Ceil Clip "
        "Concatenate Cos Cosh Divide DivideNoNan Einsum Equal Exp Exp2 ExpandDims Expm1 Flip Fliplr Flipud Floor GetItem Greater "
        "GreaterEqual Hypot Isfinite Isinf Isnan Less LessEqual Log Log10 Log1p Log2 Logaddexp LogicalAnd LogicalNot LogicalOr "
        "Matmul Max Maximum Mean Median Min Minimum Moveaxis Multiply NanToNum Negative NotEqual OnesLike Pad Power Prod Ravel "
        "Reciprocal Repeat Reshape Roll Rot90 Round Sign Sin Sinh Split Sqrt Square Squeeze Stack Std Subtract Sum Swapaxes Take "
        "Tan Tanh Tensordot Tile Transpose TrueDivide Var Where ZerosLike"
    ),
    "math": "Erf Logsumexp Rsqrt TopK",
    "nn": (
        "AveragePool Celu DepthToSpace Elu Gelu HardSigmoid HardSilu HardTanh LayerNorm LeakyRelu LogSigmoid LogSoftmax MaxPool "
        "Moments Normalize OneHot RMSNorm Relu Relu6 Selu Sigmoid Silu Softmax Softplus Softsign SpaceToDepth"
    ),
    "image": "CropImages GaussianBlur PadImages Resize",
    "core": "Cast Slice StopGradient",
}
_OTHERS = {
    "keras.initializers": (
        "Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity LecunNormal LecunUniform Ones Orthogonal RandomNormal "
        "RandomUniform TruncatedNormal VarianceScaling Zeros"
    ),
    "keras.regularizers": "L1 L1L2 L2 OrthogonalRegularizer",
    "keras.constraints": "MaxNorm MinMaxNorm NonNeg UnitNorm",
    "keras": "DTypePolicy Sequential",
    "keras.src.models.functional": "Functional",
}
ALLOWED: dict[str, list[str]] = {
    "keras.layers": _LAYERS.split(),
    **{f"keras.src.ops.{module}": names.split() for module, names in _OPERATIONS.items()},
    **{module: names.split() for module, names in _OTHERS.items()},
}
"""Classes that a configuration may name, by the module that Keras writes beside them."""

_MARKERS = {"__keras_tensor__", "__tuple__", "__slice__", "__ellipsis__"}
"""Names in a configuration that stand for plain values."""
_ARRAYS = {"__numpy__", "__tensor__"}
_NETWORKS = ("Functional", "Sequential")
_NUMBERS = re.compile("bool|bfloat16|float(16|32|64)|u?int(8|16|32|64)")


def checked_config(name: str, content: bytes) -> bytes:
    """``config.json`` of the Keras file `name` as it may be loaded: without what only a training needs.

    Raises
    ------
    ModelError
        Where it names a class that is not allowed, or asks for too much.
    """
    if len(content) > _MAX_BYTES:
        raise ModelError(f"{name}: config.json has {len(content)} bytes, expected at most {_MAX_BYTES}")
    try:
        config = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{name}: config.json is not JSON: {error}") from error
    foreign = _foreign(name, config)
    if foreign:
        raise ModelError(f"{name} has objects that a network may not have: {', '.join(sorted(foreign))}; {_allowed(foreign)}")
    if not isinstance(config, dict) or config.get("class_name") not in _NETWORKS:
        raise ModelError(f"{name}: config.json is not that of a network: expected the class Functional or Sequential")
    n_calls = _n_calls(name, config)
    if n_calls > _MAX_CALLS:
        raise ModelError(f"{name}: the network calls {n_calls} layers, expected at most {_MAX_CALLS}")
    return json.dumps(config).encode()


def _foreign(name: str, config: Any) -> set[str]:
    """Dotted names of the classes that are not allowed; also takes what is for training alone out of `config`."""
    found, left = set(), [(config, 0)]
    while left:
        node, depth = left.pop()
        if depth > _MAX_DEPTH:
            raise ModelError(f"{name}: config.json is more than {_MAX_DEPTH} levels deep")
        if isinstance(node, dict):
            if "class_name" in node:
                node.pop("compile_config", None)
                if not _is_allowed(node):
                    found.add(_dotted(node))
            left += [(item, depth + 1) for item in node.values()]
        elif isinstance(node, list):
            left += [(item, depth + 1) for item in node]
    return found


def _is_allowed(node: dict[str, Any]) -> bool:
    name, module = node["class_name"], node.get("module")
    if not isinstance(name, str) or not isinstance(module, str | None):
        return False
    if name in _MARKERS:
        return set(node) <= {"class_name", "config", "items"}
    if name in _ARRAYS:  # Keras makes an array of any dtype that it is told
        values = node.get("config")
        dtype = values.get("dtype") if isinstance(values, dict) else None
        return set(node) <= {"class_name", "config"} and isinstance(dtype, str) and _NUMBERS.fullmatch(dtype) is not None
    return name in ALLOWED.get(str(module), []) and node.get("registered_name") in (None, name)


def _dotted(node: dict[str, Any]) -> str:
    parts = [node.get("module"), node["class_name"]]
    if node.get("registered_name") not in (None, node["class_name"]):
        parts.append(node["registered_name"])
    text = ".".join(map(str, parts))
    return text if re.fullmatch(r"[\w.>]{1,100}", text) else repr(text[:100])


def _allowed(foreign: set[str]) -> str:
    """What may stand in the place of the foreign classes: those of the same modules, else the layers."""
    modules = [module for module in ALLOWED if any(name.rpartition(".")[0] == module for name in foreign)] or ["keras.layers"]
    return "; ".join(f"allowed of {module} are {', '.join(ALLOWED[module])}" for module in modules)


def _n_calls(name: str, config: dict[str, Any]) -> int:
    """Calls of layers in one pass through a network, those inside of its networks included."""
    inner = config.get("config")
    layers = inner.get("layers") if isinstance(inner, dict) else None
    if not isinstance(layers, list) or not all(isinstance(layer, dict) for layer in layers):
        raise ModelError(f"{name}: config.json has a network without layers")
    total = 0
    for layer in layers:
        nodes = layer.get("inbound_nodes")
        n = max(1, len(nodes)) if isinstance(nodes, list) else 1
        total += n * (_n_calls(name, layer) if layer.get("class_name") in _NETWORKS else 1)
    return total
