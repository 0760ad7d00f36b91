//! The generated protobuf types: Milvus' own messages and those that tapedeck stores.
#![allow(missing_docs, reason = "generated; the .proto files say what each field is")]

/// What a Milvus source writes and a Milvus target accepts (`proto/milvus`).
pub mod milvus {
    pub mod proto {
        pub mod common {
            tonic::include_proto!("milvus.proto.common");
        }
        pub mod schema {
            tonic::include_proto!("milvus.proto.schema");
        }
        pub mod msg {
            tonic::include_proto!("milvus.proto.msg");
        }
        pub mod meta {
            tonic::include_proto!("milvus.proto.meta");
        }
        pub mod milvus {
            tonic::include_proto!("milvus.proto.milvus");
        }
    }
}

/// What Pulsar's clients write (`proto/pulsar`).
pub mod pulsar {
    tonic::include_proto!("pulsar.proto");
}

/// What tapedeck stores (`proto/log`).
pub mod tapedeck {
    pub mod log {
        pub mod v1 {
            tonic::include_proto!("tapedeck.log.v1");
        }
    }
}

pub use tapedeck::log::v1 as log;
