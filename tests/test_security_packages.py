"""Model packages of an attacker, who signs the card of what he has made: refused, with nothing of his run, read or unpacked."""

import hashlib
import inspect
import io
import json
import os
import shutil
import subprocess
import sys
import warnings
import zipfile

import h5py
import numpy as np
import pytest
import yaml

from surveycnn.errors import ModelError
from surveycnn.inference.load import load_model
from surveycnn.inference.scaling import scale_stamps
from surveycnn.models.backend import import_keras
from surveycnn.models.card import Calibration, Card, Prior, Scaling, Training, read_card
from surveycnn.models.golden import Golden, read_golden
from surveycnn.models.network_config import ALLOWED
from surveycnn.models.package import check_package, load_network, load_package, save_package
from surveycnn.photoz.package import load_photoz

SIZE = 8


def tiny_card(**changes):
    values = dict(
        name="tiny", version="1", task="lens", bands=["g", "r"], pixel_scale=0.2, stamp_px=SIZE, licence="MIT", keras=""
    )
    parts = dict(
        scaling=Scaling(softening={"g": 1.0, "r": 2.0}),
        prior=Prior(training=0.5, survey=1e-3),
        calibration=Calibration(),
        training=Training(simulation="noise", seed=1, n=0, command="none"),
    )
    return Card(**values | parts | changes)


def save(folder, layers):
    """A package of a network with these layers in a row."""
    keras = import_keras()
    stamps = np.random.default_rng(0).normal(0, 20, (3, SIZE, SIZE, 2)).astype(np.float32)
    card = tiny_card()
    model = keras.Sequential([keras.Input((SIZE, SIZE, 2)), *layers, keras.layers.Dense(1)])
    save_package(folder, model, card, Golden(stamps, scale_stamps(stamps, card.scaling, card.bands)))
    return folder


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    layers = import_keras().layers
    network = [layers.Conv2D(2, 3), layers.BatchNormalization(), layers.ReLU(), layers.GlobalAveragePooling2D()]
    return save(tmp_path_factory.mktemp("pristine") / "tiny", network)


@pytest.fixture
def package(pristine, tmp_path):
    return shutil.copytree(pristine, tmp_path / "package")


def sign(package):
    """Write the digests of the files as they now are into the card."""
    values = yaml.safe_load((package / "card.yaml").read_text())
    for name in values["sha256"]:
        values["sha256"][name] = hashlib.sha256((package / name).read_bytes()).hexdigest()
    (package / "card.yaml").write_text(yaml.safe_dump(values))


def read_zip(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_zip(path, entries, compression=zipfile.ZIP_STORED):
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", compression) as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, content in entries:
            archive.writestr(name, content)
    sign(path.parent)


def change_config(package, change):
    path = package / "model.keras"
    entries = read_zip(path)
    config = json.loads(entries["config.json"])
    change(config)
    write_zip(path, (entries | {"config.json": json.dumps(config).encode()}).items())


def layer(config, number=1):
    return config["config"]["layers"][number]


def change_weights(package, change):
    path = package / "model.keras"
    entries = read_zip(path)
    stream = io.BytesIO(entries["model.weights.h5"])
    with h5py.File(stream, "r+") as file:
        kernel = "layers/conv2d/vars/0"
        values = file[kernel][()]
        del file[kernel]
        change(file, kernel, values)
    write_zip(path, (entries | {"model.weights.h5": stream.getvalue()}).items())


def refusal(package):
    """What `models check` says; load_package and load_model say the same."""
    (finding,) = check_package(package)
    with pytest.raises(ModelError) as caught:
        load_package(package)
    assert finding in str(caught.value)
    with pytest.raises(ModelError) as caught:
        load_model(package, engine="tensorflow", batch_size=4)
    assert finding in str(caught.value)
    return finding


def test_check_package__good(package):
    assert check_package(package) == []
    load_package(package)


def test_lambda_layer__does_not_run(package, tmp_path):
    evidence = tmp_path / "evidence"
    keras = import_keras()
    place = str(evidence)
    code = lambda x, place=place: (open(place, "w").close(), x)[1]  # noqa: E731  # Keras saves the code of a lambda alone
    evil = keras.Sequential(
        [keras.Input((SIZE, SIZE, 2)), keras.layers.Lambda(code), keras.layers.Flatten(), keras.layers.Dense(1)]
    )
    assert evidence.exists()
    evidence.unlink()
    evil.save(package / "model.keras")
    sign(package)
    assert "may not have: None.__lambda__, keras.layers.Lambda; allowed of keras.layers are Activation" in refusal(package)
    assert not evidence.exists()
    script = "import sys; from surveycnn.models.package import *; print(check_package(sys.argv[1]), 'keras' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", script, str(package)], check=True, capture_output=True, text=True).stdout
    assert "keras.layers.Lambda" in printed
    assert printed.endswith("False\n"), "refused before Keras is imported"
    assert not evidence.exists()


@pytest.mark.parametrize(
    ("named", "shown"),
    [
        ({"class_name": "TFSMLayer", "config": {"filepath": "/tmp/x"}}, "keras.layers.TFSMLayer"),
        ({"class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}}, "keras.layers.StringLookup"),
        ({"class_name": "TextVectorization", "config": {"vocabulary": "/etc/passwd"}}, "keras.layers.TextVectorization"),
        ({"class_name": "TorchModuleWrapper"}, "keras.layers.TorchModuleWrapper"),
        ({"class_name": "TimeDistributed"}, "keras.layers.TimeDistributed"),
        ({"class_name": "Pipeline"}, "keras.layers.Pipeline"),
        ({"module": "keras.src.ops.core", "class_name": "Map"}, "keras.src.ops.core.Map"),
        ({"module": "keras.src.models.model", "class_name": "Model"}, "keras.src.models.model.Model"),
        ({"module": "builtins", "class_name": "function", "config": "eval"}, "builtins.function"),
        ({"registered_name": "my>Conv2D"}, "keras.layers.Conv2D.my>Conv2D"),
        ({"module": None}, "None.Conv2D"),
        ({"module": "keras.layers", "class_name": ["Conv2D"]}, "keras.layers"),
        ({"class_name": "__slice__", "registered_name": "my>Conv2D"}, "keras.layers.__slice__.my>Conv2D"),
        ({"class_name": "\x1b[2J"}, r"\x1b[2J"),
        ({"module": None, "class_name": "__numpy__", "config": {"value": 0, "dtype": "V1000000000000"}}, "None.__numpy__"),
    ],
)
def test_network_config__class_that_is_not_allowed(package, named, shown):
    change_config(package, lambda config: layer(config).update(named))
    (finding,) = check_package(package)
    assert finding.startswith("model.keras has objects that a network may not have: ")
    assert shown in finding
    assert "allowed of keras." in finding
    assert finding.isprintable()


@pytest.mark.parametrize("place", ["kernel_initializer", "activation", "kernel_regularizer", "dtype"])
def test_network_config__object_inside_a_layer(package, place):
    evil = {"module": "keras.utils", "class_name": "get_file", "config": {}, "registered_name": None}
    change_config(package, lambda config: layer(config)["config"].update({place: evil}))
    assert "keras.utils.get_file" in refusal(package)


def test_network_config__what_is_for_training_alone_is_left_out(package):
    evil = {"optimizer": {"module": "evil", "class_name": "Evil", "config": {}}}
    change_config(package, lambda config: layer(config).update(compile_config=evil))
    assert check_package(package) == []


def test_allowed__are_layers_and_operations_that_take_no_file_and_no_function():
    import importlib

    keras = import_keras()
    for module, names in ALLOWED.items():
        found = importlib.import_module(module)
        for name in names:
            made_by = set(inspect.signature(getattr(found, name).__init__).parameters)
            assert not made_by & {"vocabulary", "filepath", "path", "file", "function", "fn", "f", "module", "url", "layer"}, name
    assert all(issubclass(getattr(keras.layers, name), keras.layers.Layer) for name in ALLOWED["keras.layers"])
    assert all(issubclass(getattr(keras.initializers, name), keras.Initializer) for name in ALLOWED["keras.initializers"])


def test_save_package__layers_of_ones_own_network(tmp_path):
    layers = import_keras().layers
    network = [
        layers.RandomFlip(),
        layers.SeparableConv2D(4, 3, activation="gelu", depthwise_regularizer="l2"),
        layers.GroupNormalization(2),
        layers.LeakyReLU(),
        layers.AveragePooling2D(2),
        layers.Reshape((9, 4)),
        layers.LayerNormalization(),
        layers.Dropout(0.1),
        layers.Flatten(),
        layers.Dense(4, activation=import_keras().activations.silu),
    ]
    folder = save(tmp_path / "own", network)
    assert check_package(folder) == []


def test_save_package__refuses_what_nobody_could_load(tmp_path):
    layers = import_keras().layers
    with pytest.raises(
        ModelError, match=r"model\.keras has objects that a network may not have: None\.__lambda__, keras\.layers\."
    ):
        save(tmp_path / "own", [layers.Lambda(lambda x: x), layers.Flatten()])
    assert not (tmp_path / "own" / "card.yaml").exists()


def test_network__more_weights_than_are_stored(package):
    change_config(package, lambda config: layer(config)["config"].update(filters=10**9))
    assert "its layers have more weights than the 49 that are stored" in refusal(package)


def test_network__outputs_beyond_memory(package):
    def grow(config):
        layers = config["config"]["layers"]
        layers.insert(1, {"module": "keras.layers", "class_name": "UpSampling2D", "config": {"size": [50000, 50000]}})

    change_config(package, grow)
    assert "bytes a stamp, allowed are 8589934592" in refusal(package)


def test_network__networks_that_call_networks(package):
    def nest(config):
        for _ in range(20):
            inner = json.loads(json.dumps(config)) | {"inbound_nodes": [{}, {}], "name": "x"}
            config["config"] = {"layers": [inner]}

    change_config(package, nest)
    assert "the network calls 6291456 layers, expected at most 20000" in refusal(package)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[" * 100_000, "config.json is not JSON"),
        (b"[" * 300 + b"]" * 300, "more than 100 levels deep"),
        (b"\xff", "is not JSON"),
    ],
)
def test_network_config__text(package, text, message):
    entries = read_zip(package / "model.keras")
    write_zip(package / "model.keras", (entries | {"config.json": text}).items())
    assert message in refusal(package)


def external(file, name, values):
    file.create_dataset(name, shape=(100,), dtype="u1", external=[("/etc/passwd", 0, 100)])


def virtual(file, name, values):
    layout = h5py.VirtualLayout(shape=(100,), dtype="f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", shape=(100,))
    file.create_virtual_dataset(name, layout)


def bomb(file, name, values):
    file.create_dataset(name, shape=(10**6, 10**6), dtype="f4", chunks=(1000, 1000), compression="gzip")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file, name, values: file.__setitem__(name, h5py.ExternalLink("/etc/passwd", "/x")), "has a link '0'"),
        (lambda file, name, values: file.__setitem__(name, h5py.SoftLink("/layers")), "has a link '0', expected arrays alone"),
        (external, "array '/layers/conv2d/vars/0' lies in another file"),
        (virtual, "array '/layers/conv2d/vars/0' lies in another file"),
        (bomb, "of shape (1000000, 1000000) is packed, or not stored as a whole"),
        (lambda file, name, values: file.create_dataset(name, shape=(10**7,), dtype="f4"), "is packed, or not stored as a whole"),
        (lambda file, name, values: file.create_dataset(name, data=b"x" * 9), "has the type object, expected numbers"),
        (lambda file, name, values: file.create_dataset(name, data=values[:1]), "cannot be loaded: "),
        (lambda file, name, values: file.create_dataset(name, data=values * np.nan), "outputs differ from golden.npz by inf"),
    ],
)
def test_weights(package, change, message):
    change_weights(package, change)
    assert message in check_package(package)[0]


def test_zip__entries(package):
    path = package / "model.keras"
    entries = list(read_zip(path).items())
    write_zip(path, [*entries, entries[1]])
    assert "entries are ['config.json', 'config.json', " in refusal(package)
    write_zip(path, entries, zipfile.ZIP_BZIP2)
    assert "packed in another way than zip's deflate" in refusal(package)
    write_zip(path, entries)
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the flag of encryption
    path.write_bytes(content)
    sign(package)
    assert "entries are encrypted" in refusal(package)


@pytest.mark.parametrize("name", ["model.keras", "golden.npz", "card.yaml"])
@pytest.mark.parametrize("place", ["pipe", "/dev/zero", "folder"])
def test_file__that_is_none(package, name, place):
    path = package / name
    path.unlink()
    if place == "pipe":
        os.mkfifo(path)
    elif place == "folder":
        path.mkdir()
    else:
        path.symlink_to(place)
    assert f"{name} is no regular file" in check_package(package)[0]


def test_file__link_to_a_secret_is_not_shown(package, tmp_path):
    (tmp_path / "secret").write_text("root: [hunter2\n")
    for name in ("card.yaml", "model.keras"):
        (package / name).unlink()
        (package / name).symlink_to(tmp_path / "secret")
        finding = str(check_package(package))
        assert "hunter2" not in finding
        assert "is not YAML" in finding


def test_load__file_that_is_exchanged_after_the_check(package, tmp_path):
    card = read_card(package)
    assert check_package(package) == []
    for name in ("model.keras", "golden.npz"):
        good = (package / name).read_bytes()
        (package / name).write_bytes(good[:-1] + b"\x00" if good[-1] else good[:-1] + b"\x01")
        with pytest.raises(ModelError, match=f"{name} has sha256 .*, the card says"):
            load_network(package, card) if name == "model.keras" else read_golden(package, card)
        (package / name).write_bytes(good)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "../../x"}, "name: String should match pattern"),
        ({"bands": ["g", "../r"]}, "bands.1: String should match pattern"),
        ({"notes": "\x1b]0;title\x07"}, r"notes: '\\x1b]0;title\\x07' has control characters: leave them out"),
        ({"licence": "MIT\u202egnp.exe"}, "licence: 'MIT\\\\u202egnp.exe' has control characters"),
        ({"metrics": {"a\x9bm": {"value": 1, "definition": "x", "n": 1}}}, "has control characters"),
        ({"calibration": {"temperature": float("nan")}}, "calibration.temperature: Input should be"),
        ({"calibration": {"temperature": 1.0, "bias": float("inf")}}, "calibration.bias: Input should be a finite number"),
        ({"flops": 10**400}, "flops: Input should be less than"),
        ({"stamp_px": 10**6}, "stamp_px: Input should be less than or equal to 1024"),
        ({"n_weights": 5}, "the card is not that of the network: n_weights is 49, the card says 5"),
        ({"activation_bytes": 0}, "the card is not that of the network: activation_bytes is "),
        ({"evil": 1}, "evil: unknown key"),
    ],
)
def test_card(package, changes, message):
    values = yaml.safe_load((package / "card.yaml").read_text())
    (package / "card.yaml").write_text(yaml.safe_dump(values | changes))
    finding = check_package(package)[0]
    assert message.replace("\\\\", "\\") in finding
    assert "\x1b" not in finding


def test_table_card__columns_that_steer_a_terminal(tmp_path):
    (tmp_path / "card.yaml").write_text(yaml.safe_dump({"task": "photoz_table", "columns": {"mag_g": "\x1b[2J"}}))
    with pytest.raises(ModelError, match=r"columns: '\\x1b\[2J' has control characters: leave them out"):
        load_photoz(tmp_path)


def test_save_package__too_many_examples(pristine, tmp_path):
    card, model = load_package(pristine)
    stamps = np.zeros((1001, SIZE, SIZE, 2), np.float32)
    with pytest.raises(ModelError, match="1001 golden examples are given, expected at most 1000"):
        save_package(tmp_path, model, card, Golden(stamps, stamps))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [x, x]\nb: [*a, *a]\n", "is not YAML: an alias of an anchor in line 2"),
        ("!!python/object/apply:os.getcwd []", "is not YAML: could not determine a constructor"),
        ("[" * 2_000, "is not YAML: RecursionError"),
        ("a: !!timestamp x\n", "is not YAML: AttributeError"),
        ("a: !!int " + "9" * 5000 + "\n", "is not YAML: ValueError"),
        ("\x01", "is not YAML: ReaderError"),
        ("#" * 1_000_001, "card.yaml has more than 1000000 bytes"),
    ],
)
def test_card__text(package, text, message):
    (package / "card.yaml").write_text(text)
    assert message in check_package(package)[0]


def npy(dtype, shape, content):
    text = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy("<f4", "(1000000000000,)", b"\x00" * 8), "raw.npy says that it has the shape (1000000000000,), but holds 8 bytes"),
        (npy("|O", "(1,)", b"\x80\x04."), "raw.npy has the type object, expected float32 or float64"),
        (npy("<f4", "(3,)", b"\x00" * 12), "golden.npz has raw (3,), expected"),
        (npy("<f4", "(2000, 1)", b"\x01" * 8000), "golden.npz has 2000 examples, expected at most 1000"),
        (npy("<f4", "(0, 1)", b""), "golden.npz has "),
        (npy("<f4", "__import__('os').getcwd()", b""), "golden.npz cannot be read: "),
        (b"\x80\x04.", "golden.npz cannot be read: "),
    ],
)
def test_golden(package, content, message):
    entries = read_zip(package / "golden.npz")
    write_zip(package / "golden.npz", (entries | {"raw.npy": content}).items())
    assert message in check_package(package)[0]
