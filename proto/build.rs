//! Compiles the `.proto` files: the only generated code.

fn main() -> std::io::Result<()> {
    let files =
        ["common", "schema", "msg", "meta", "milvus"].map(|name| format!("proto/milvus/{name}.proto"));
    let files = files
        .iter()
        .map(String::as_str)
        .chain(["proto/pulsar/pulsar.proto", "proto/log/log.proto"])
        .collect::<Vec<_>>();
    println!("cargo:rerun-if-changed=proto");
    tonic_prost_build::configure()
        .build_server(false)
        .build_transport(false) // its `connect` would meet the service's own Connect
        .bytes(".")
        .btree_map(".")
        .compile_protos(&files, &["proto"])
}
