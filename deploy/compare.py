#!/usr/bin/env python3
"""Compares two Milvus completely: definitions, load states, every key and every field of every row.

  compare.py --source URI --target URI [--timeout 60] [--json FILE]

Waits until both are equal or the time is up. Exit code 0 only if all is equal, else 1.
Rows are compared in what is loaded. Names that start with _tapedeck are ignored.
Tokens (user:password) are those in SOURCE_TOKEN and TARGET_TOKEN of the environment.
Needs pymilvus 2.3 (for its generated messages).
"""

import argparse
import base64
import hashlib
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlparse

import grpc
import numpy as np
from pymilvus.grpc_gen import common_pb2, milvus_pb2 as api, milvus_pb2_grpc, schema_pb2
from pymilvus.grpc_gen.schema_pb2 import DataType

STRONG = common_pb2.ConsistencyLevel.Value("Strong")
NOT_LOADED, LOADED = 1, 3
INDEX_NOT_FOUND = 700
MAX_ROWS = 16384
PAGE_BYTES = 24 << 20
RESERVED = "_tapedeck"
EXAMPLES = 5
# a strongly consistent read mostly waits for the next tick, so many wait side by side
AT_ONCE = 16


class Refused(Exception):
    """An answer that is not a success."""


class Milvus:
    """What the comparison asks of one Milvus."""

    def __init__(self, uri, token):
        self.metadata = [("authorization", base64.b64encode(token.encode()).decode())] if token else []
        address = urlparse(uri if "//" in uri else f"http://{uri}")
        size = [("grpc.max_receive_message_length", -1)]
        target = f"{address.hostname}:{address.port or 19530}"
        if address.scheme == "https":
            channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(), size)
        else:
            channel = grpc.insecure_channel(target, size)
        self.stub = milvus_pb2_grpc.MilvusServiceStub(channel)

    def call(self, method, request, accept=()):
        answer = getattr(self.stub, method)(request, timeout=60, metadata=self.metadata)
        status = answer.status
        if (status.code or status.error_code) and status.code not in accept:
            raise Refused(f"{method}: {status.reason} (code {status.code})")
        return answer

    def databases(self):
        return sorted(self.call("ListDatabases", api.ListDatabasesRequest()).db_names)

    def collections(self, database):
        answer = self.call("ShowCollections", api.ShowCollectionsRequest(db_name=database))
        return sorted(name for name in answer.collection_names if not name.startswith(RESERVED))

    def describe(self, database, name):
        return self.call("DescribeCollection",
                         api.DescribeCollectionRequest(db_name=database, collection_name=name))

    def partitions(self, database, name):
        answer = self.call("ShowPartitions", api.ShowPartitionsRequest(db_name=database, collection_name=name))
        return sorted(answer.partition_names)

    def indexes(self, database, name):
        answer = self.call("DescribeIndex", api.DescribeIndexRequest(db_name=database, collection_name=name),
                           accept=[INDEX_NOT_FOUND])
        return {index.index_name: {"field": index.field_name, **pairs(index.params)}
                for index in answer.index_descriptions}

    def load_state(self, database, name, partition=None):
        return self.call("GetLoadState", api.GetLoadStateRequest(
            db_name=database, collection_name=name, partition_names=[partition] if partition else [])).state

    def query(self, database, name, partition, expression, fields, limit=None):
        limits = [common_pb2.KeyValuePair(key="limit", value=str(limit))] if limit else []
        return self.call("Query", api.QueryRequest(
            db_name=database, collection_name=name, partition_names=[partition] if partition else [],
            expr=expression, output_fields=fields, query_params=limits, consistency_level=STRONG)).fields_data

    def count(self, database, name, partition):
        return self.query(database, name, partition, "", ["count(*)"])[0].scalars.long_data.data[0]


def pairs(items):
    return dict(sorted((item.key, item.value) for item in items))


# ---------------------------------------------------------------- definitions

class Definition:
    """What a collection is, by names; ids, channels and times differ between two Milvus by nature."""

    def __init__(self, milvus, database, name):
        described = milvus.describe(database, name)
        schema = described.schema
        self.fields = {field.name: field_definition(field) for field in schema.fields}
        self.key = next(field for field in schema.fields if field.is_primary_key)
        self.auto_id = self.key.autoID
        self.page = page_size(schema)
        by_key = any(field.is_partition_key for field in schema.fields)
        # partitions of a partition key take no names in requests
        names = [None] if by_key else milvus.partitions(database, name)
        self.loads = {partition: milvus.load_state(database, name, partition) for partition in names}
        self.facts = {
            "description": schema.description,
            "order of fields": [field.name for field in schema.fields],
            "dynamic": schema.enable_dynamic_field,
            "shards": described.shards_num,
            "partitions": described.num_partitions if by_key else names,
            "consistency": common_pb2.ConsistencyLevel.Name(described.consistency_level),
            "properties": pairs(described.properties),
            "aliases": sorted(described.aliases),
            "indexes": milvus.indexes(database, name),
            "loaded": sorted(partition or "(all)" for partition, state in self.loads.items() if state == LOADED),
        }


def field_definition(field):
    return {"type": DataType.Name(field.data_type), "element": DataType.Name(field.element_type),
            "primary": field.is_primary_key, "partition key": field.is_partition_key,
            "description": field.description, "parameters": pairs(field.type_params),
            "default": field.default_value.SerializeToString().hex()}


def page_size(schema):
    """As many rows as fit well into one answer."""
    width = 1024
    for field in schema.fields:
        dim = int(pairs(field.type_params).get("dim", 0))
        width += dim // 8 if field.data_type == DataType.BinaryVector else dim * 4
    return max(1, min(MAX_ROWS, PAGE_BYTES // width))


def definition_differences(source, target):
    found = []
    for name in sorted(set(source.fields) | set(target.fields)):
        here, there = source.fields.get(name, {}), target.fields.get(name, {})
        found += [f"field {name}: {key} {here.get(key)!r} -> {there.get(key)!r}"
                  for key in {**here, **there} if here.get(key) != there.get(key)]
    found += [f"{key}: {source.facts[key]!r} -> {target.facts[key]!r}"
              for key in source.facts if source.facts[key] != target.facts[key]]
    if target.auto_id and not source.auto_id:
        found.append("keys: given -> generated")
    return found


# ---------------------------------------------------------------- rows

def read_rows(milvus, definition, database, name, partition):
    """{key: digest of the whole row}, page by page in the order of keys."""
    rows, last = {}, None
    while True:
        data = milvus.query(database, name, partition, after(definition.key, last), ["*"], definition.page)
        columns = {field.field_name: list(column(field)) for field in data}
        keys = key_values(definition.key, data)
        rows.update(zip(keys, row_digests(columns, len(keys))))
        if len(keys) < definition.page:
            return rows
        last = max(keys)


def after(key, last):
    if key.data_type == DataType.Int64:
        return f"{key.name} < 0 or {key.name} >= 0" if last is None else f"{key.name} > {last}"
    return f'{key.name} >= ""' if last is None else f"{key.name} > {json.dumps(last, ensure_ascii=False)}"


def key_values(key, data):
    field = next((field for field in data if field.field_name == key.name), None)
    if field is None:
        return []
    scalars = field.scalars
    return list(scalars.long_data.data if key.data_type == DataType.Int64 else scalars.string_data.data)


def row_digests(columns, count):
    names = sorted(columns)
    for row in range(count):
        digest = hashlib.blake2b(digest_size=16)
        for name in names:
            value = columns[name][row]
            digest.update(f"{name}:{len(value)}:".encode())
            digest.update(value)
        yield digest.digest()


def column(field):
    """The values of one column as bytes, exact to the bit."""
    if field.type == DataType.FloatVector:
        return slices(np.array(field.vectors.float_vector.data, dtype="<f4").tobytes(), field.vectors.dim * 4)
    if field.type == DataType.BinaryVector:
        return slices(field.vectors.binary_vector, field.vectors.dim // 8)
    if field.type == DataType.JSON:
        return (canonical(text) for text in field.scalars.json_data.data)
    if field.type == DataType.Array:
        # an empty array may come with or without its type
        return (str(list(values(item))).encode() for item in field.scalars.array_data.data)
    if field.type in (DataType.Float, DataType.Double):
        kind = "<f4" if field.type == DataType.Float else "<f8"
        return slices(np.array(values(field.scalars), dtype=kind).tobytes(), np.dtype(kind).itemsize)
    return (str(value).encode() for value in values(field.scalars))


def values(scalars):
    kind = scalars.WhichOneof("data")
    return getattr(scalars, kind).data if kind else []


def slices(data, width):
    return (data[start:start + width] for start in range(0, len(data), width))


def canonical(text):
    return json.dumps(json.loads(text), sort_keys=True).encode() if text else b""


# ---------------------------------------------------------------- comparison

class Result:
    """One line of the table."""

    def __init__(self, name):
        self.name = name
        self.rows_source = self.rows_target = self.keys = 0
        self.hashes = "-"
        self.notes = []
        self.differences = []

    @property
    def definitions(self):
        return "differ" if any(kind == "definition" for kind, _ in self.differences) else "same"

    @property
    def verdict(self):
        if self.differences:
            return "DIFFERENT"
        return f"equal ({', '.join(self.notes)})" if self.notes else "equal"

    def differ(self, kind, text):
        self.differences.append((kind, text))

    def as_json(self):
        return {"collection": self.name, "rows_source": self.rows_source, "rows_target": self.rows_target,
                "keys": self.keys, "hashes": self.hashes, "definitions": self.definitions, "notes": self.notes,
                "equal": not self.differences, "differences": [text for _, text in self.differences]}


def compare(source, target, deep):
    """All results; without `deep` only definitions and counts, to wait cheaply."""
    results, names = [], []
    databases = source.databases(), target.databases()
    for database in sorted(set(databases[0]) | set(databases[1])):
        listed = [side.collections(database) if database in there else None
                  for side, there in zip((source, target), databases)]
        if None in listed:
            results.append(missing(database, "database", listed[0] is None))
            continue
        for name in sorted(set(listed[0]) | set(listed[1])):
            if name in listed[0] and name in listed[1]:
                names.append((database, name))
            else:
                results.append(missing(f"{database}.{name}", "collection", name not in listed[0]))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results += pool.map(lambda each: compare_collection(source, target, *each, deep), names)
    return sorted(results, key=lambda result: result.name)


def missing(name, what, in_source):
    result = Result(name)
    result.differ("definition", f"{what} is missing in the {'source' if in_source else 'target'}")
    return result


def compare_collection(source, target, database, name, deep):
    result = Result(f"{database}.{name}")
    here, there = Definition(source, database, name), Definition(target, database, name)
    for text in definition_differences(here, there):
        result.differ("definition", text)
    if here.auto_id and not there.auto_id:
        result.notes.append("autoID off in the target, by design")
    unloaded = [partition for partition, state in here.loads.items() if state == NOT_LOADED]
    if unloaded:
        result.notes.append(f"{len(unloaded)} of {len(here.loads)} partitions not loaded")
    for partition, state in here.loads.items():
        if state == LOADED and there.loads.get(partition) == LOADED:
            compare_rows(source, target, result, (database, name, partition), here, there, deep)
    return result


def both(call, *sides):
    """The same call for source and target at the same time."""
    with ThreadPoolExecutor(len(sides)) as pool:
        return list(pool.map(lambda side: call(*side), sides))


def compare_rows(source, target, result, where, here, there, deep):
    counts = both(lambda side, _: side.count(*where), (source, here), (target, there))
    result.rows_source += counts[0]
    result.rows_target += counts[1]
    place = f"partition {where[2]}: " if where[2] else ""
    if counts[0] != counts[1]:
        result.differ("count", f"{place}{counts[0]} rows -> {counts[1]} rows")
    if not deep:
        return
    ours, theirs = both(lambda side, definition: read_rows(side, definition, *where), (source, here), (target, there))
    result.keys += len(ours)
    lost, extra = sorted(set(ours) - set(theirs)), sorted(set(theirs) - set(ours))
    changed = sorted(key for key in ours if key in theirs and ours[key] != theirs[key])
    if result.hashes != "differ":
        result.hashes = "differ" if lost or extra or changed else "same"
    for what, keys in (("keys only in the source", lost), ("keys only in the target", extra),
                       ("rows with other content", changed)):
        if keys:
            more = ", ..." if len(keys) > EXAMPLES else ""
            result.differ("rows", f"{place}{what}: {len(keys)} ({', '.join(map(repr, keys[:EXAMPLES]))}{more})")


def wait_until_equal(source, target, timeout):
    """The full comparison as soon as the cheap one finds nothing, and once more when the time is up."""
    deadline = time.monotonic() + timeout
    waiting = 0
    while True:
        began, last_try = time.monotonic(), time.monotonic() > deadline
        try:
            results = compare(source, target, deep=False)
            if last_try or not any(result.differences for result in results):
                results = compare(source, target, deep=True)
                if last_try or not any(result.differences for result in results):
                    return results
            different = sum(bool(result.differences) for result in results)
            if different != waiting:
                waiting = different
                print(f"compare: waiting, {different} of {len(results)} collections differ", file=sys.stderr)
        except (grpc.RpcError, Refused) as error:
            # things come and go while the target catches up
            if last_try:
                raise SystemExit(f"compare: {error.details() if isinstance(error, grpc.RpcError) else error}")
        time.sleep(max(0.3, time.monotonic() - began))


# ---------------------------------------------------------------- output

def print_table(results):
    head = ["collection", "rows source", "rows target", "keys", "hashes", "definitions", "verdict"]
    lines = [[result.name, str(result.rows_source), str(result.rows_target), str(result.keys), result.hashes,
              result.definitions, result.verdict] for result in results]
    widths = [max(len(line[at]) for line in [head] + lines) for at in range(len(head))]
    for line in [head, ["-" * width for width in widths]] + lines:
        cells = [cell.rjust(width) if at in (1, 2, 3) else cell.ljust(width)
                 for at, (cell, width) in enumerate(zip(line, widths))]
        print("  ".join(cells).rstrip())
    for result in results:
        for _, text in result.differences:
            print(f"{result.name}: {text}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True, metavar="URI")
    parser.add_argument("--target", required=True, metavar="URI")
    parser.add_argument("--timeout", type=float, default=60, metavar="SECONDS", help="how long to wait (60)")
    parser.add_argument("--json", metavar="FILE", help="write the result to this file too")
    arguments = parser.parse_args()
    began = time.monotonic()
    source = Milvus(arguments.source, os.environ.get("SOURCE_TOKEN"))
    target = Milvus(arguments.target, os.environ.get("TARGET_TOKEN"))
    results = wait_until_equal(source, target, arguments.timeout)
    seconds = round(time.monotonic() - began, 1)
    different = sum(bool(result.differences) for result in results)
    print_table(results)
    print(f"{len(results)} collections, {sum(result.rows_source for result in results)} rows: "
          + (f"{different} DIFFERENT" if different else "all equal") + f" after {seconds} s")
    if arguments.json:
        with open(arguments.json, "w") as out:
            json.dump({"equal": not different, "seconds": seconds,
                       "collections": [result.as_json() for result in results]}, out, indent=2)
            out.write("\n")
    return 1 if different else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
