#!/usr/bin/env python3
"""Does everything to a Milvus 2.3 that a replica of it must follow, and leaves a rich end state behind.

  workload.py --uri http://127.0.0.1:19530 --seed 7 [--rows 2000] [--seconds 0] [--out summary.json]

Needs pymilvus 2.3. The same seed makes the same rows. What an earlier run left is dropped first.
The token (user:password) is that in SOURCE_TOKEN of the environment.
"""

import argparse
import json
import os
import sys
import time

import numpy as np
from pymilvus import Collection, CollectionSchema, DataType, FieldSchema, connections, db, utility

DATABASES = ["shop", "lab", "scratch"]
COLLECTIONS = ["everything", "bits", "counted", "serials", "moved"]  # in the default database
FLAT = {"index_type": "FLAT", "metric_type": "L2", "params": {}}
HNSW = {"index_type": "HNSW", "metric_type": "IP", "params": {"M": 8, "efConstruction": 32}}
WORDS = ["red", "grün", "azul", "黒", "white \"quoted\"", "it's", "back\\slash", "line\nbreak", ""]
ELEMENTS = {
    "bools": DataType.BOOL, "bytes": DataType.INT8, "shorts": DataType.INT16, "ints": DataType.INT32,
    "longs": DataType.INT64, "floats": DataType.FLOAT, "doubles": DataType.DOUBLE, "words": DataType.VARCHAR,
}


def key_field(kind, auto_id=False):
    more = {"max_length": 100} if kind == DataType.VARCHAR else {}
    return FieldSchema("id", kind, is_primary=True, auto_id=auto_id, description="the key", **more)


def vector_field(dim, kind=DataType.FLOAT_VECTOR):
    return FieldSchema("vector", kind, dim=dim)


def text_field(name, **more):
    return FieldSchema(name, DataType.VARCHAR, max_length=200, **more)


def array_field(name, element):
    more = {"max_length": 50} if element == DataType.VARCHAR else {}
    return FieldSchema(name, DataType.ARRAY, element_type=element, max_capacity=8, **more)


def plain_fields():
    return [key_field(DataType.INT64), FieldSchema("amount", DataType.INT64), vector_field(8)]


class Rows:
    """Makes rows; all chance comes from one seed."""

    def __init__(self, seed):
        self.chance = np.random.default_rng(seed)

    def number(self, low, high):
        return int(self.chance.integers(low, high, endpoint=True))

    def pick(self, things):
        return things[self.number(0, len(things) - 1)]

    def vector(self, dim):
        return self.chance.standard_normal(dim).astype(np.float32).tolist()

    def value(self, kind):
        if kind == DataType.BOOL:
            return bool(self.number(0, 1))
        if kind == DataType.FLOAT:
            return float(np.float32(self.chance.standard_normal()))
        if kind == DataType.DOUBLE:
            return float(self.chance.standard_normal()) * 10.0 ** self.number(-200, 200)
        if kind == DataType.VARCHAR:
            return f"{self.pick(WORDS)} {self.number(0, 999)}"
        width = {DataType.INT8: 8, DataType.INT16: 16, DataType.INT32: 32, DataType.INT64: 64}[kind]
        limits = [-(2 ** (width - 1)), 2 ** (width - 1) - 1]
        return self.pick(limits + [0, self.number(*limits)])

    def document(self):
        return {"name": self.value(DataType.VARCHAR), "big": 2 ** 53 + self.number(1, 9), "none": None,
                "ratio": float(self.chance.random()), "nested": {"tags": [self.pick(WORDS), 1, True]}}

    def extra(self):
        """Fields that only some rows have."""
        kinds = [DataType.BOOL, DataType.INT64, DataType.DOUBLE, DataType.VARCHAR]
        return {f"extra_{n}": self.value(self.pick(kinds)) for n in range(self.number(0, 3))}

    def everything(self, key):
        row = {"id": key, "flag": self.value(DataType.BOOL), "tiny": self.value(DataType.INT8),
               "small": self.value(DataType.INT16), "middle": self.value(DataType.INT32),
               "large": self.value(DataType.INT64), "single": self.value(DataType.FLOAT),
               "double": self.value(DataType.DOUBLE), "text": self.value(DataType.VARCHAR),
               "document": self.document(), "vector": self.vector(16)}
        for name, element in ELEMENTS.items():
            row[name] = [self.value(element) for _ in range(self.number(0, 8))]
        return {**row, **self.extra()}

    def bits_row(self, key):
        return {"id": key, "text": self.value(DataType.VARCHAR), "vector": self.chance.bytes(8)}

    def product(self, key):
        return {"id": key, "brand": f"brand {self.number(0, 40)}", "price": self.value(DataType.DOUBLE),
                "vector": self.vector(8), **self.extra()}

    def plain_row(self, key):
        return {"id": key, "amount": self.value(DataType.INT64), "vector": self.vector(8)}


class Workload:
    def __init__(self, uri, seed, rows):
        self.uri = uri
        self.make = Rows(seed)
        self.rows = rows
        self.began = time.monotonic()
        self.done = {}
        self.connected = set()
        self.use("default")

    # -- small helpers

    def use(self, database):
        """One connection for each database."""
        if database not in self.connected:
            connections.connect(database, uri=self.uri, db_name=database, token=os.environ.get("SOURCE_TOKEN", ""))
            self.connected.add(database)
        return database

    def say(self, what):
        print(f"[{time.monotonic() - self.began:6.1f} s] {what}", flush=True)

    def count(self, operation, times=1):
        self.done[operation] = self.done.get(operation, 0) + times

    def do(self, operation, call, *arguments, **more):
        answer = call(*arguments, **more)
        self.count(operation)
        return answer

    def create(self, database, name, fields, dynamic=False, **more):
        schema = CollectionSchema(fields, description=f"about {name}", enable_dynamic_field=dynamic)
        return self.do("create collection", Collection, name, schema, using=self.use(database), **more)

    def insert(self, collection, rows, partition=None):
        """Several requests, so that shards and segments see more than one message; returns the keys."""
        keys = []
        for start in range(0, len(rows), 500):
            answer = self.do("insert", collection.insert, rows[start:start + 500], partition_name=partition)
            keys += answer.primary_keys
        self.count("rows inserted", len(rows))
        return keys

    def upsert(self, collection, rows, partition=None):
        self.do("upsert", collection.upsert, rows, partition_name=partition)
        self.count("rows upserted", len(rows))

    def delete(self, collection, keys, partition=None):
        expression = f"id in {json.dumps(list(keys), ensure_ascii=False)}"
        self.do("delete", collection.delete, expression, partition_name=partition)
        self.count("rows deleted", len(keys))

    def load(self, collection, wait=False):
        """Loads go on side by side with the tour; the summary waits for all."""
        self.do("load collection", collection.load, _async=not wait)

    def index(self, collection, field, parameters, **more):
        self.do("create index", collection.create_index, field, parameters, **more)

    def index_and_load(self, collection, parameters, wait=False):
        self.index(collection, "vector", parameters)
        self.load(collection, wait)

    # -- the tour

    def tour(self):
        self.clean()
        self.create_databases()
        self.every_type()
        self.binary_vectors()
        self.generated_keys()
        self.partition_key()
        self.partitions()
        self.indexes()
        self.aliases()
        self.renames()
        self.same_name_again()
        self.database_come_and_gone()

    def clean(self):
        """Drop what an earlier run left; aliases first, because they outlive their collection."""
        there = [name for name in DATABASES if name in db.list_database(using="default")]
        for database in ["default"] + there:
            using = self.use(database)
            for name in utility.list_collections(using=using):
                if database == "default" and name not in COLLECTIONS:
                    continue
                for alias in utility.list_aliases(name, using=using):
                    utility.drop_alias(alias, using=using)
                utility.drop_collection(name, using=using)
        for database in there:
            db.drop_database(database, using="default")

    def create_databases(self):
        for name in DATABASES[:2]:
            self.do("create database", db.create_database, name, using="default")
        self.say(f"databases {', '.join(DATABASES[:2])}: created")

    def every_type(self):
        fields = [
            key_field(DataType.INT64), FieldSchema("flag", DataType.BOOL), FieldSchema("tiny", DataType.INT8),
            FieldSchema("small", DataType.INT16), FieldSchema("middle", DataType.INT32),
            FieldSchema("large", DataType.INT64), FieldSchema("single", DataType.FLOAT),
            FieldSchema("double", DataType.DOUBLE), text_field("text"), FieldSchema("document", DataType.JSON),
            *(array_field(name, element) for name, element in ELEMENTS.items()), vector_field(16)]
        everything = self.create("default", "everything", fields, dynamic=True, num_shards=2,
                                 consistency_level="Strong")
        # 2.3.5 counts a row with the largest key, 2 ** 63 - 1, but no query finds it
        keys = [-1, 1 - 2 ** 63, 2 ** 63 - 2, 2 ** 53 + 1] + list(range(4, self.rows))
        self.insert(everything, [self.make.everything(key) for key in keys])
        self.index(everything, "large", {"index_type": "STL_SORT"}, index_name="by_large")
        self.index(everything, "text", {"index_type": "Trie"}, index_name="by_text")
        # deletes by anything but keys need a loaded collection
        self.index_and_load(everything, {"index_type": "IVF_FLAT", "metric_type": "L2", "params": {"nlist": 16}},
                            wait=True)
        self.do("flush", everything.flush)
        self.delete(everything, keys[4:10] + [10 ** 12])
        self.upsert(everything, [self.make.everything(key) for key in keys[3:200]])
        self.do("delete by expression", everything.delete, "middle == 0 and flag == true")
        self.do("alter properties", everything.set_properties, {"collection.ttl.seconds": 8640000})
        self.say(f"default.everything: every field type, {self.rows} rows, flush, deletes, upserts, properties")

    def binary_vectors(self):
        bits = self.create("default", "bits", [key_field(DataType.VARCHAR), text_field("text"),
                                               vector_field(64, DataType.BINARY_VECTOR)], num_shards=3)
        keys = [f"{self.make.pick(WORDS)}/{n}" for n in range(self.rows)]
        self.insert(bits, [self.make.bits_row(key) for key in keys])
        self.delete(bits, keys[:50])
        self.upsert(bits, [self.make.bits_row(key) for key in keys[25:75]])
        self.index_and_load(bits, {"index_type": "BIN_IVF_FLAT", "metric_type": "JACCARD", "params": {"nlist": 8}})
        self.say("default.bits: binary vectors, text keys, deletes, upserts")

    def generated_keys(self):
        for name, kind in (("counted", DataType.INT64), ("serials", DataType.VARCHAR)):
            fields = [key_field(kind, auto_id=True), FieldSchema("amount", DataType.INT64), vector_field(8)]
            collection = self.create("default", name, fields, dynamic=kind == DataType.INT64, num_shards=2)
            rows = [self.make.plain_row(n) for n in range(self.rows // 2)]
            for row in rows:
                del row["id"]
            keys = self.insert(collection, rows)
            self.delete(collection, keys[::10])
            self.index_and_load(collection, HNSW)
            self.say(f"default.{name}: generated {kind.name} keys, deletes")

    def partition_key(self):
        fields = [key_field(DataType.VARCHAR), text_field("brand", is_partition_key=True),
                  FieldSchema("price", DataType.DOUBLE), vector_field(8)]
        products = self.create("shop", "products", fields, dynamic=True, num_shards=4, num_partitions=8)
        keys = [f"product {n}" for n in range(self.rows)]
        self.insert(products, [self.make.product(key) for key in keys])
        self.upsert(products, [self.make.product(key) for key in keys[:100]])
        self.delete(products, keys[50:150])
        self.index_and_load(products, HNSW)
        self.say("shop.products: partition key, 4 shards, upserts that move rows, deletes")

    def partitions(self):
        seasons = self.create("shop", "seasons", plain_fields())
        for n, name in enumerate(["spring", "summer", "autumn", "winter"]):
            self.do("create partition", seasons.create_partition, name, description=f"about {name}")
            self.insert(seasons, [self.make.plain_row(n * 10000 + key) for key in range(200)], name)
        self.insert(seasons, [self.make.plain_row(90000 + key) for key in range(50)])
        self.index(seasons, "vector", FLAT)
        self.do("load partitions", seasons.load, partition_names=["spring", "summer", "winter"])
        self.upsert(seasons, [self.make.plain_row(key) for key in range(20)], "spring")
        self.delete(seasons, range(10, 20), "spring")
        self.delete(seasons, range(10010, 10015))
        # a loaded partition cannot be dropped
        self.do("release partitions", seasons.partition("winter").release)
        self.do("drop partition", seasons.drop_partition, "winter")
        self.do("release partitions", seasons.partition("summer").release)
        self.do("load partitions", seasons.partition("summer").load)
        self.say("shop.seasons: partitions filled, loaded one by one, released, one dropped with its rows")

    def indexes(self):
        changing = self.create("lab", "changing", plain_fields(), consistency_level="Eventually")
        self.insert(changing, [self.make.plain_row(key) for key in range(self.rows)])
        self.index(changing, "amount", {"index_type": "STL_SORT"}, index_name="by_amount")
        self.index_and_load(changing, FLAT, wait=True)
        self.do("release collection", changing.release)
        self.do("drop index", changing.drop_index, index_name="vector")
        self.do("drop index", changing.drop_index, index_name="by_amount")
        self.index(changing, "vector", HNSW, index_name="by_vector")
        self.load(changing)
        self.do("flush", changing.flush)
        self.say("lab.changing: vector and scalar index, dropped and another one made")

    def aliases(self):
        using = self.use("lab")
        for name in ("old", "new"):
            collection = self.create("lab", name, plain_fields())
            self.insert(collection, [self.make.plain_row(key) for key in range(100)])
            self.index_and_load(collection, FLAT)
        self.do("create alias", utility.create_alias, "old", "current", using=using)
        self.do("create alias", utility.create_alias, "old", "previous", using=using)
        self.do("create alias", utility.create_alias, "new", "brief", using=using)
        self.do("alter alias", utility.alter_alias, "new", "current", using=using)
        self.do("drop alias", utility.drop_alias, "brief", using=using)
        # rows may come in through an alias
        self.insert(Collection("current", using=using), [self.make.plain_row(key) for key in range(100, 150)])
        self.say("lab.old and lab.new: aliases created, moved, dropped, written through")

    def renames(self):
        draft = self.create("lab", "draft", plain_fields())
        self.insert(draft, [self.make.plain_row(key) for key in range(300)])
        self.do("rename", utility.rename_collection, "draft", "final", using="lab")
        final = Collection("final", using="lab")
        self.insert(final, [self.make.plain_row(key) for key in range(300, 400)])
        self.index_and_load(final, FLAT)

        moving = self.create("lab", "moving", plain_fields())
        self.insert(moving, [self.make.plain_row(key) for key in range(300)])
        self.do("rename", utility.rename_collection, "moving", "moved", new_db_name="default", using="lab")
        moved = Collection("moved", using="default")
        self.delete(moved, range(50))
        self.index_and_load(moved, FLAT)
        self.say("lab.draft -> lab.final, lab.moving -> default.moved: renamed, also to another database")

    def same_name_again(self):
        first = self.create("lab", "again", plain_fields())
        self.insert(first, [self.make.plain_row(key) for key in range(500)])
        self.index_and_load(first, FLAT, wait=True)
        self.do("drop collection", first.drop)
        second = self.create("lab", "again", [key_field(DataType.VARCHAR), text_field("brand"),
                                              FieldSchema("price", DataType.DOUBLE), vector_field(8)], dynamic=True)
        self.insert(second, [self.make.product(f"thing {n}") for n in range(200)])
        self.index_and_load(second, FLAT)
        self.do("create partition", second.create_partition, "part")
        self.insert(second, [self.make.product(f"part {n}") for n in range(50)], "part")
        self.do("release partitions", second.partition("part").release)
        self.do("drop partition", second.drop_partition, "part")
        self.do("create partition", second.create_partition, "part")
        self.insert(second, [self.make.product(f"other {n}") for n in range(20)], "part")
        self.load(second)
        self.say("lab.again: collection and partition dropped and made again under the same name")

    def database_come_and_gone(self):
        for _ in range(2):
            self.do("create database", db.create_database, "scratch", using="default")
            shortlived = self.create("scratch", "shortlived", plain_fields())
            self.insert(shortlived, [self.make.plain_row(key) for key in range(100)])
            self.do("drop collection", shortlived.drop)
            self.do("drop database", db.drop_database, "scratch", using="default")
        self.say("scratch: database made, filled, dropped, twice")

    # -- traffic

    def traffic(self, seconds):
        """Mixed writes, now and then a change of definitions."""
        until = time.monotonic() + seconds
        everything, seasons = Collection("everything", using="default"), Collection("seasons", using="shop")
        turn = 0
        while time.monotonic() < until:
            first = 10 ** 6 + turn * 100
            self.insert(everything, [self.make.everything(first + n) for n in range(100)])
            self.upsert(everything, [self.make.everything(first + n) for n in range(0, 100, 7)])
            self.delete(everything, range(first, first + 100, 9))
            if turn % 5 == 0:
                self.passing_definitions(seasons, turn)
            turn += 1
        self.say(f"traffic: {turn} turns in {seconds} s")

    def passing_definitions(self, seasons, turn):
        """A partition and a collection that live for a moment."""
        self.do("create partition", seasons.create_partition, "passing")
        self.insert(seasons, [self.make.plain_row(10 ** 6 + turn * 100 + n) for n in range(20)], "passing")
        self.do("release partitions", seasons.partition("passing").release)
        self.do("drop partition", seasons.drop_partition, "passing")
        passing = self.create("lab", "passing", plain_fields())
        self.insert(passing, [self.make.plain_row(n) for n in range(20)])
        self.do("create alias", utility.create_alias, "passing", "passing_by", using="lab")
        self.do("drop alias", utility.drop_alias, "passing_by", using="lab")
        self.do("drop collection", passing.drop)
        self.do("alter properties", seasons.set_properties, {"collection.ttl.seconds": 8640000 + turn})

    # -- the end state

    def summary(self):
        self.say("waiting until everything is loaded")
        rows = {f"{database}.{name}": self.count_rows(database, name)
                for database in db.list_database(using="default")
                for name in sorted(utility.list_collections(using=self.use(database)))
                if not name.startswith("_tapedeck")}
        return {"seconds": round(time.monotonic() - self.began, 1), "operations": self.done, "rows": rows}

    def count_rows(self, database, name):
        """Rows of what is loaded; None for a collection (of somebody else) that is not."""
        collection = Collection(name, using=self.use(database))
        if str(utility.load_state(name, using=database)) == "NotLoad":
            return None
        utility.wait_for_loading_complete(name, using=database)
        answer = collection.query("", output_fields=["count(*)"], consistency_level="Strong")
        return answer[0]["count(*)"]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uri", required=True, help="the Milvus to write to")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--rows", type=int, default=2000, help="rows of each large collection (at least 500)")
    parser.add_argument("--seconds", type=float, default=0, help="go on with mixed traffic for so long")
    parser.add_argument("--out", help="write a JSON summary to this file")
    arguments = parser.parse_args()
    if arguments.rows < 500:
        parser.error("--rows must be at least 500")
    return arguments


def main():
    arguments = parse_arguments()
    workload = Workload(arguments.uri, arguments.seed, arguments.rows)
    workload.tour()
    if arguments.seconds:
        workload.traffic(arguments.seconds)
    summary = workload.summary()
    workload.say(f"done: {sum(filter(None, summary['rows'].values()))} rows in {len(summary['rows'])} collections")
    if arguments.out:
        with open(arguments.out, "w") as out:
            json.dump(summary, out, indent=2, sort_keys=True)
            out.write("\n")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
