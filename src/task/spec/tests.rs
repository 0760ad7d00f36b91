use serde_json::{Value, json};

use super::*;

fn full() -> Value {
    json!({
        "name": "dr-east", "kind": "replicate",
        "source": {
            "etcd": {"endpoints": ["http://127.0.0.1:2379"], "root_path": "by-dev", "meta_sub_path": "meta"},
            "queue": {"kafka": {"brokers": "127.0.0.1:9092"}},
            "replicate_channel": "by-dev-replicate-msg",
            "milvus": {"uri": "http://127.0.0.1:19530"}
        },
        "log": {"url": "s3://bucket/dr-east", "options": {"endpoint": "http://127.0.0.1:9000", "access_key_id": {"env": "S3_KEY"}}},
        "target": {"uri": "http://127.0.0.1:29530", "token": {"env": "TARGET_TOKEN"}},
        "start": "earliest",
        "select": {"include": ["*.*"], "exclude": ["scratch.*"]},
        "rename": {"db1.docs": "db1.docs_copy"}
    })
}

fn replay() -> Value {
    json!({"name": "r", "kind": "replay", "log": {"url": "file:///log"}, "target": {"uri": "http://h:1"}})
}

/// A public key as `tapedeck keygen` prints it.
const PUBLIC: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

fn record() -> Value {
    let document = with(with(full(), "/kind", json!("record")), "/target", Value::Null);
    with(document, "/rename", Value::Null)
}

/// The document with one place set (or, with null, taken out).
fn with(mut document: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = document.pointer_mut(parent).unwrap();
    if let Some(list) = parent.as_array_mut() {
        list[key.parse::<usize>().unwrap()] = value;
    } else if value.is_null() {
        parent.as_object_mut().unwrap().remove(key);
    } else {
        parent[key] = value;
    }
    document
}

fn parse(document: &Value) -> Result<TaskSpec> {
    TaskSpec::parse(document.to_string().as_bytes())
}

#[test]
fn the_document_of_the_design_reads_and_is_shown_as_it_was_written() {
    let spec = parse(&full()).unwrap();
    assert_eq!(serde_json::to_value(&spec).unwrap(), full());
    assert_eq!((spec.start(), spec.until()), (recorder::Start::Earliest, replayer::Until::Cancelled));
}

#[test]
fn what_is_left_out_has_the_defaults_of_milvus() {
    let document = with(full(), "/source/etcd", json!({"endpoints": ["http://h:2379"]}));
    let etcd = parse(&document).unwrap().source.unwrap().etcd;
    assert_eq!((etcd.root_path.as_str(), etcd.meta_sub_path.as_str()), ("by-dev", "meta"));
    assert_eq!(
        parse(&with(full(), "/select", Value::Null)).unwrap().selection().unwrap(),
        Selection::default()
    );
}

#[test]
fn start_and_until_take_their_forms() {
    let start = |value| parse(&with(full(), "/start", value)).unwrap().start();
    assert_eq!(start(json!("now")), recorder::Start::Now);
    assert_eq!(start(json!({"tso": 449000000000000000u64})), recorder::Start::After(Tso(449000000000000000)));
    let until = |value| parse(&with(replay(), "/until", value)).unwrap().until();
    assert_eq!(until(json!("latest")), replayer::Until::Latest);
    assert_eq!(until(json!(470656465160896520u64)), replayer::Until::Tso(Tso(470656465160896520)));
    assert_eq!(until(json!("470656465160896520")), replayer::Until::Tso(Tso(470656465160896520)));
    let time = until(json!("2026-11-23T05:32:10.698Z"));
    assert_eq!(time, replayer::Until::Tso(Tso::end_of_millis(1795411930698)));
}

#[test]
fn a_replay_leaves_out_what_its_document_says() {
    let spec = parse(&with(replay(), "/skip", json!(["tso:9", "12:3"]))).unwrap();
    assert_eq!(spec.skip().unwrap().places(), ["12:3", "tso:9"]);
    assert!(parse(&replay()).unwrap().skip().unwrap().is_empty());
}

#[test]
fn a_document_is_an_object() {
    for other in [json!([]), json!(["dr-east"]), json!("dr-east"), Value::Null] {
        let error = parse(&other).unwrap_err();
        assert!(error.message.contains("it is no JSON object") && error.advice.is_some(), "{error}");
    }
}

#[test]
fn the_keys_of_an_encrypted_log_are_shown_as_they_were_written() {
    let (public, own) = (json!([PUBLIC]), json!({"file": "/run/secrets/key"}));
    for (document, keys) in [
        (record(), json!({"recipients": public, "recorder_identity": own})),
        (record(), json!({"recipients": public, "identity": own, "recorder_identity": own})),
        (replay(), json!({"identity": own})),
        (replay(), json!({"recipients": public, "identity": own})),
        (full(), json!({"recipients": public, "identity": own})),
        (full(), json!({"recipients": public, "identity": own, "recorder_identity": own})),
    ] {
        let spec =
            TaskSpec::parse(with(document, "/log/encryption", keys.clone()).to_string().as_bytes()).unwrap();
        assert_eq!(serde_json::to_value(&spec).unwrap()["log"]["encryption"], keys);
    }
}

#[test]
fn every_wrong_document_is_refused_with_the_place_and_what_to_do() {
    for (base, pointer, value, message) in [
        (full(), "/name", json!("../x"), "name: it is no name"),
        (full(), "/name", json!("a".repeat(64)), "name: it is no name"),
        (replay(), "/skip", json!(["12"]), "skip[0]: \"12\" is no place of a change"),
        (full(), "/skip", json!(["12:3"]), "skip: a task of kind replicate has none"),
        (full(), "/name", Value::Null, "the document: missing field `name`"),
        (
            full(),
            "/kind",
            json!("restore"),
            "kind: unknown variant `restore`, expected one of `record`, `replay`",
        ),
        (full(), "/colour", json!(1), "colour: unknown field `colour`"),
        (full(), "/source", Value::Null, "source: it is missing; a task of kind replicate needs it"),
        (full(), "/target", Value::Null, "target: it is missing; a task of kind replicate needs it"),
        (full(), "/until", json!("latest"), "until: a task of kind replicate has none"),
        (full(), "/kind", json!("replay"), "source: a task of kind replay has none"),
        (replay(), "/start", json!("now"), "start: a task of kind replay has none"),
        (
            full(),
            "/source/queue",
            json!({"nats": {}}),
            "source.queue.nats: unknown field `nats`, expected one of `kafka`, `pulsar`, `rocksmq`",
        ),
        (full(), "/source/queue", json!("rocksmq"), "expected an object with one of kafka, pulsar, rocksmq"),
        (full(), "/source/queue", json!({}), "source.queue: a source has one queue"),
        (
            full(),
            "/source/queue",
            json!({"rocksmq": {"path": "/var"}, "kafka": {"brokers": "h:1"}}),
            "source.queue: a source has one queue",
        ),
        (full(), "/log/url", json!("file:///log"), "log.options: a folder needs none"),
        (
            record(),
            "/log/encryption",
            json!({"recipients": [PUBLIC], "identity": {"env": "K"}}),
            "log.encryption.recorder_identity: it is missing; a task of kind record needs it",
        ),
        (
            record(),
            "/log/encryption",
            json!({"recorder_identity": {"env": "K"}}),
            "log.encryption.recipients: it is missing; a task of kind record needs it",
        ),
        (
            full(),
            "/log/encryption",
            json!({"recipients": [PUBLIC], "recorder_identity": {"env": "K"}}),
            "log.encryption.identity: it is missing; a task of kind replicate needs it",
        ),
        (
            replay(),
            "/log/encryption",
            json!({"recipients": [PUBLIC]}),
            "log.encryption.identity: it is missing; a task of kind replay needs it",
        ),
        (
            replay(),
            "/log/encryption",
            json!({"identity": {"env": "K"}, "recorder_identity": {"env": "K"}}),
            "log.encryption.recorder_identity: a task of kind replay has none",
        ),
        (
            full(),
            "/log/encryption",
            json!({"recipients": [PUBLIC, "AGE-SECRET-KEY-hunter2"], "identity": {"env": "K"}}),
            "log.encryption.recipients[1]: it is no public key of age",
        ),
        (
            full(),
            "/log/encryption",
            json!({"recipients": vec![PUBLIC; 257], "identity": {"env": "K"}}),
            "log.encryption.recipients: there are more than 256",
        ),
        (
            replay(),
            "/log/encryption",
            json!({"identity": "AGE-SECRET-KEY-hunter2"}),
            "log.encryption.identity: a secret itself may not stand",
        ),
        (replay(), "/log/encryption", json!({"key": 1}), "log.encryption.key: unknown field `key`"),
        (
            full(),
            "/source/queue",
            json!({"pulsar": {"url": "127.0.0.1:9092"}}),
            "source.queue.pulsar.url: \"127.0.0.1:9092\" is no address of a Pulsar",
        ),
        (
            full(),
            "/source/queue",
            json!({"pulsar": {"url": "pulsar://h"}}),
            "source.queue.pulsar.url: it is no list",
        ),
        (
            full(),
            "/source/queue",
            json!({"pulsar": {"url": "pulsar://h:6650", "tenant": "a/b"}}),
            "source.queue.pulsar.tenant: it is no name",
        ),
        (
            full(),
            "/source/queue",
            json!({"pulsar": {"url": "pulsar://h:6650", "tls": {}}}),
            "source.queue.pulsar.tls: pulsar://h:6650 does not use TLS",
        ),
        (
            full(),
            "/source/queue",
            json!({"pulsar": {"url": "pulsar+ssl://h:6651", "tls": {"key": {"env": "K"}}}}),
            "source.queue.pulsar.tls: certificate and key come together",
        ),
        (
            full(),
            "/source/queue",
            json!({"pulsar": {"url": "pulsar+ssl://h:6651", "token": "hunter2"}}),
            "source.queue.pulsar.token: a secret itself may not stand",
        ),
        (
            full(),
            "/source/queue/kafka/plugin",
            json!("x.so"),
            "source.queue.kafka.plugin: unknown field `plugin`",
        ),
        (full(), "/source/queue/kafka/brokers", json!("h"), "source.queue.kafka.brokers: it is no list"),
        (full(), "/source/queue/kafka/brokers", json!("h:1,"), "source.queue.kafka.brokers: it is no list"),
        (
            full(),
            "/source/queue/kafka/brokers",
            json!("h:1,169.254.169.254:80"),
            "brokers: it is a link-local",
        ),
        (full(), "/source/etcd/endpoints", json!([]), "source.etcd.endpoints: it is empty"),
        (full(), "/source/etcd/endpoints/0", json!("h:2379"), "source.etcd.endpoints[0]: it is not just"),
        (
            full(),
            "/source/etcd/endpoints/0",
            json!("http://[fe80::1]:2379"),
            "endpoints[0]: it is a link-local",
        ),
        (
            full(),
            "/source/etcd/root_path",
            json!("/by-dev"),
            "source.etcd.root_path: it is empty or has a slash",
        ),
        (
            full(),
            "/source/etcd/username",
            json!({"env": "U"}),
            "source.etcd: username and password come together",
        ),
        (
            full(),
            "/source/replicate_channel",
            json!("a/b"),
            "source.replicate_channel: it is no topic's name",
        ),
        (
            full(),
            "/source/milvus/uri",
            json!("http://2852039166:80"),
            "source.milvus.uri: it is a link-local",
        ),
        (full(), "/target/uri", json!("http://[::ffff:169.254.0.1]:1"), "target.uri: it is a link-local"),
        (full(), "/target/uri", json!("tcp://h:1"), "target.uri: it is not just"),
        (full(), "/target/uri", json!("http://root:hunter2@h:1"), "target.uri: it has a user or password"),
        (full(), "/target/token", json!("hunter2"), "target.token: a secret itself may not stand"),
        (full(), "/log/url", json!("s3://"), "log.url: "),
        (full(), "/log/url", json!("ftp://h/x"), "log.url: no store is called \"ftp\""),
        (full(), "/log/url", json!("memory:///x"), "log.url: no store is called \"memory\""),
        (full(), "/log/url", json!("s3://bucket/a/../b"), "log.url: it goes up or round with dots"),
        (full(), "/log/url", json!("file:///logs/%2E%2e/b"), "log.url: it goes up or round with dots"),
        (full(), "/log/url", json!("file:///"), "log.url: the bucket or folder is missing"),
        (full(), "/log/url", json!("s3://key:hunter2@bucket/x"), "log.url: it has a user or password"),
        (
            full(),
            "/log/options/secret_access_key",
            json!("hunter2"),
            "log.options.secret_access_key: a secret",
        ),
        (
            full(),
            "/log/options/endpoint",
            json!("http://169.254.169.254"),
            "log.options.endpoint: it is a link-local",
        ),
        (
            full(),
            "/start",
            json!("yesterday"),
            "start: unknown variant `yesterday`, expected one of `earliest`",
        ),
        (
            full(),
            "/start",
            json!({"tso": Tso::from_millis(4_102_444_800_000).0}),
            "start.tso: 1075431289651200000 (2100-01-01T00:00:00.000Z) lies in the future",
        ),
        (replay(), "/until", json!("yesterday"), "until: invalid value: string \"yesterday\""),
        (full(), "/select/include", json!([]), "select.include: it is empty"),
        (full(), "/select/include/0", json!("docs"), "select.include[0]: \"docs\" has no dot"),
        (full(), "/select/exclude/0", json!("*.*"), "select: every included pattern is excluded"),
        (
            full(),
            "/rename",
            json!({"scratch.a": "b.c"}),
            "rename[\"scratch.a\"]: \"scratch.a\" is not selected",
        ),
    ] {
        let document = with(base, pointer, value);
        let error = parse(&document).expect_err(&document.to_string());
        assert!(error.message.contains(message), "{pointer}: {error}");
        assert!(error.advice.is_some() && error.exit_code() == 2, "{error:?}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}

#[test]
fn a_log_and_the_state_of_the_service_do_not_lie_within_each_other() {
    use super::super::validate::apart;
    for (log, state) in [
        ("file:///a/b", "file:///a/b/"),
        ("file:///a/b/c", "file:///a/b"),
        ("s3://bucket/state", "s3://bucket/state/east"),
        ("s3://bucket/log", "s3://bucket"),
    ] {
        let error = apart(log, state).unwrap_err();
        assert!(error.message.starts_with("log.url: ") && error.message.contains("within"), "{error}");
    }
    for (log, state) in [
        ("file:///a/bc", "file:///a/b"),
        ("s3://bucket/a", "s3://other/a"),
        ("s3://a/b", "file:///a/b"),
        ("file:///a", "memory://"),
    ] {
        assert!(apart(log, state).is_ok(), "{log} {state}");
    }
}

#[test]
fn what_is_no_json_is_refused_by_line_and_column() {
    let twice = format!("{}{{}}", full());
    for (document, message) in [
        ("{\n \"name\": \"a\",,", "this is no JSON: key must be a string at line 2 column 14"),
        ("{\"name\": \"a\"", "EOF while parsing an object at line 1 column 12"),
        ("", "line 1 column 0"),
        (&twice, "trailing characters at line 1"),
    ] {
        let error = TaskSpec::parse(document.as_bytes()).unwrap_err();
        assert!(error.message.contains(message) && error.exit_code() == 2, "{error}");
    }
}

#[test]
fn a_target_that_is_the_source_is_refused_unless_its_rows_go_to_other_names() {
    let same = with(full(), "/target/uri", json!("http://127.0.0.1:19530/"));
    assert!(parse(&same).is_ok());
    let error = parse(&with(same, "/rename", Value::Null)).unwrap_err();
    assert!(error.message.contains("target.uri: it is the source") && error.advice.is_some(), "{error}");
}
