//! What `tapedeck::target::milvus` does to a real Milvus 2.3.5. Runs where `TAPEDECK_STAND` names the directory of a
//! running stand (`deploy/stand up --dir DIR --services etcd,target`); elsewhere it says that it was skipped.

mod definitions;
mod rows;
mod stand;
