import astropy.units as u
import pyarrow as pa
import pytest
from astropy.io.votable.ucd import check_ucd

from surveycnn.bands import KNOWN_BANDS
from surveycnn.catalogs import columns
from surveycnn.catalogs.cubes import cubes_of
from surveycnn.catalogs.data_model import data_model
from surveycnn.catalogs.tables import dataset_to_arrow, null_value
from surveycnn.models.package import find_card
from surveycnn.schema import Plane, Schema, Variable

TASKS = ("lens", "morphology", "merger", "photoz")


def all_columns() -> list[Variable]:
    """Every column that a shipped model and a band can make."""
    models = [variable for task in TASKS for variable in find_card(task).schema.values()]
    given = [columns.input_id_column(True), *columns.lens_columns(has_cascade=True), *map(columns.domain_column, TASKS)]
    return [*columns.position_columns(), *columns.photometry_columns([*KNOWN_BANDS, "F115W"]), *given, *models]


@pytest.mark.parametrize("variable", {variable.name: variable for variable in all_columns()}.values(), ids=lambda v: v.name)
def test_columns__ucd_unit_and_texts(variable):
    assert check_ucd(variable.ucd, check_controlled_vocabulary=True)
    for standard in ("vounit", "fits"):
        assert u.Unit(variable.unit, format=standard, parse_strict="raise") == u.Unit(variable.unit)
    assert variable.filled_by and variable.doc and variable.doc.isascii()
    assert variable.null is None or variable.dtype[0] == "i"


def test_columns__null_of_a_whole_number():
    stage = columns.lens_columns(has_cascade=True)[-1]
    assert stage.null == 0 and stage.attrs["null_value"] == "0"
    assert Variable("n", "i4", "count", null=-1).empty(2).tolist() == [-1, -1]
    assert null_value(table_schema(stage).field(0)) == 0
    for kind, text in ((pa.uint8(), "-1"), (pa.float32(), "0"), (pa.int16(), "none")):
        assert null_value(pa.field("n", kind, metadata={"null_value": text})) is None


def test_plane__text():
    assert Plane.parse(str(Plane("flux", "band", "my band"))) == Plane("flux", "band", "my band")
    assert Plane.parse("flux band") is None and Plane.parse("") is None


def table_schema(*variables: Variable):
    return dataset_to_arrow(Schema(variables).empty()).schema


def test_cubes_of__columns_that_belong_together():
    cubes = cubes_of(table_schema(*columns.photometry_columns(["g", "r"]), *columns.morphology_columns({"bar": ["yes", "no"]})))
    assert {cube.name: (cube.dim, cube.labels, cube.columns[0]) for cube in cubes} == {
        "flux": ("band", ("g", "r"), "flux_g"),
        "flux_err": ("band", ("g", "r"), "flux_err_g"),
        "flux_aper": ("band", ("g", "r"), "flux_aper_g"),
        "flux_aper_err": ("band", ("g", "r"), "flux_aper_err_g"),
        "morph": ("answer", ("bar_yes", "bar_no"), "morph_bar_yes"),
        "morph_conc": ("answer", ("bar_yes", "bar_no"), "morph_bar_yes_conc"),
    }
    assert cubes[0].attrs["units"] == "nJy" and "ucd" not in cubes[0].attrs  # which is that of one band


def test_cubes_of__none_where_a_plane_lacks_or_the_name_is_taken():
    flux = {variable.name: variable for variable in columns.photometry_columns(["g", "r"])}
    some = [flux["flux_g"], flux["flux_r"], flux["flux_err_g"]]
    assert [cube.name for cube in cubes_of(table_schema(*some))] == ["flux"]
    assert cubes_of(table_schema(*some, Variable("flux", "f4", "of a user"), Variable("x", "f4", ""))) == []
    assert cubes_of(table_schema(*some, Variable("band", "str", "of a user"))) == []
    other = Variable("flux_i", "f8", "in double precision", plane=Plane("flux", "band", "i"))
    assert cubes_of(table_schema(*some, other)) == []


def test_data_model__a_row_per_column():
    rows = {row.name: row for row in data_model(all_columns_once())}
    assert rows["ra"][1:6] == ("f8", "deg", "pos.eq.ra;meta.main", "source", "detection")
    assert rows["pz_mean"].type == "f4[8]" and rows["pz_mean"].dims == "source, component"
    assert rows["flux_r"].dims == "source; flux[band=r]" and rows["mosaic"].type == "str"
    assert rows["lens_stage"].description.endswith("; null is 0")


def all_columns_once() -> Schema:
    return Schema({variable.name: variable for variable in all_columns()}.values())


def test_data_model__of_a_table_too():
    assert data_model(dataset_to_arrow(all_columns_once().empty()).schema) == data_model(all_columns_once())
