"""Reads an archive with DuckDB and pandas: `read.py types FILES`, or `read.py deleted LOG`."""

import pathlib
import re
import struct
import sys

import duckdb
import pandas

TYPES = {
    "_op_": "VARCHAR", "_tso": "UBIGINT", "_time": "TIMESTAMP WITH TIME ZONE", "_partition": "VARCHAR",
    "_partition_id": "BIGINT", "_channel": "VARCHAR", "_position": "VARCHAR", "id": "BIGINT", "vector": "FLOAT[]",
    "bits": "BLOB", "half": "FLOAT[]", "brain": "BLOB", "sparse": "BLOB", "flag": "BOOLEAN", "tiny": "TINYINT",
    "small": "SMALLINT", "middle": "INTEGER", "large": "BIGINT", "float": "FLOAT", "double": "DOUBLE",
    "note": "VARCHAR", "document": "JSON", "flags": "BOOLEAN[]", "bytes": "TINYINT[]", "longs": "BIGINT[]",
    "floats": "FLOAT[]", "doubles": "DOUBLE[]", "texts": "VARCHAR[]", "_op": "VARCHAR", "$meta": "JSON",
}
FIRST = 1_795_411_930_000  # milliseconds of the sample's clock


def number(key, tick):
    """From which the sample makes all values of a row."""
    return key * 31 ^ (FIRST + tick)


def packed(key, tick, width):
    return bytes((number(key, tick) + at) & 255 for at in range(width))


def same(found, right):
    assert found == right, f"{found} instead of {right}"


def types(files):
    same({name: kind for name, kind, *_ in duckdb.sql(f"DESCRIBE SELECT * FROM '{files}'").fetchall()}, TYPES)
    rows = duckdb.sql(f"""SELECT id, _op_, _tso >> 18, epoch_ms(_time), _partition, _partition_id, _position
                          FROM '{files}'""").fetchall()
    same(rows, [
        (3, "insert", FIRST + 4, FIRST + 4, "p11", 11, "0"), (3, "upsert", FIRST + 5, FIRST + 5, "p11", 11, "1"),
        (7, "insert", FIRST + 4, FIRST + 4, "p11", 11, "0"), (7, "delete", FIRST + 6, FIRST + 6, None, -1, "3"),
        (9, "insert", FIRST + 4, FIRST + 4, "p11", 11, "0"),
    ])
    row = duckdb.sql(f"""SELECT vector, bits, half, brain, sparse, tiny, small, middle, large, "double", note, document->>'n', longs
                         FROM '{files}' WHERE id = 7 ORDER BY _tso""").fetchall()
    at = number(7, 4)
    same(row[0], (
        list(struct.unpack("<8f", packed(7, 4, 32))), packed(7, 4, 1), list(struct.unpack("<8e", packed(7, 4, 16))),
        packed(7, 4, 16), struct.pack("<If", 7, at), struct.unpack("b", packed(7, 4, 1))[0],
        struct.unpack("<h", struct.pack("<H", at & 0xFFFF))[0], struct.unpack("<i", struct.pack("<I", at & 0xFFFFFFFF))[0],
        at, struct.unpack("<d", packed(7, 4, 8))[0], f"t{at}", str(at), [at * 31],
    ))
    same(row[1], (None,) * 13)

    path, = pathlib.Path(files).parent.glob("*.parquet")
    frame = pandas.read_parquet(path)
    same(list(frame.columns), list(TYPES))
    same([str(frame.dtypes[name]) for name in ("_tso", "_time", "id")], ["uint64", "datetime64[ms, UTC]", "int64"])
    same(list(frame["id"]), [3, 3, 7, 7, 9])
    same(list(frame["vector"][2]), list(struct.unpack("<8f", packed(7, 4, 32))))
    same(frame["note"].isna().tolist(), [True, True, False, True, True])
    same(str(frame["_time"][0]), "2026-11-23 05:32:10.004000+00:00")


def deleted(log):
    readme = pathlib.Path(__file__).parents[2] / "README.md"
    query, = re.findall(r"```sql\n(.*?)```", readme.read_text(), re.DOTALL)
    query = query.replace("dr-east/", f"{log}/")
    rows = duckdb.sql(f"SELECT * REPLACE (epoch_ms(_time) AS _time) FROM ({query.strip().rstrip(';')})")
    same(rows.columns, ["_time", "_tso", "_partition", "_channel", "_position"])
    (time, tso, partition, channel, _), = rows.fetchall()
    same((time, partition), (tso >> 18, "_default"))
    assert "dml" in channel, channel
    path, = pathlib.Path(log).glob("archive/default/docs-*/*.parquet")
    history = pandas.read_parquet(path).query("id == 7")
    same(list(history["_op"]), ["insert", "upsert", "delete"])
    same(history["_tso"].iloc[2].item(), tso)
    same(history["note"].isna().tolist(), [False, False, True])
    counts = duckdb.sql(f"SELECT _op, count(*) FROM '{path}' GROUP BY ALL ORDER BY ALL").fetchall()
    same(counts, [("delete", 2), ("insert", 101), ("upsert", 2)])


{"types": types, "deleted": deleted}[sys.argv[1]](sys.argv[2])
