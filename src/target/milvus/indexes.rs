//! Indexes.

use crate::change::CollectionName;
use crate::error::{Error, Result};
use crate::pb::milvus::proto::common::KeyValuePair;
use crate::pb::milvus::proto::milvus as pb;
use crate::target::milvus::MilvusTarget;
use crate::target::milvus::connection::call;
use crate::target::milvus::failure::{Failure, INDEX_NOT_FOUND};

impl MilvusTarget {
    /// The same index again is success for Milvus itself; it refuses every other one on the field.
    pub(super) async fn create_index(
        &self,
        name: &CollectionName,
        field: &str,
        index: &str,
        params: &[KeyValuePair],
    ) -> Result<()> {
        let request = pb::CreateIndexRequest {
            db_name: name.database.clone(),
            collection_name: name.collection.clone(),
            field_name: field.to_owned(),
            extra_params: params.to_vec(),
            index_name: index.to_owned(),
            ..Default::default()
        };
        let failure = match call!(self.connection, create_index, request) {
            Err(failure @ Failure::Refusal { .. }) => failure,
            created => return created.map(drop).map_err(Error::from),
        };
        let there = match call!(self.connection, describe_index, index_request(name, field, "")) {
            Ok(there) => there.index_descriptions.into_iter().find(|there| there.field_name == field),
            Err(_) => None,
        };
        match (there, Error::from(failure)) {
            (Some(there), error) if !error.is_retry() => {
                let (ours, theirs) = (text(params), text(&there.params));
                let message =
                    format!("the target has index {} there, {theirs}; the source {ours}", there.index_name);
                Err(error.context(message).advice("drop the target's index"))
            }
            (_, error) => Err(error),
        }
    }

    pub(super) async fn drop_index(&self, name: &CollectionName, field: &str, index: &str) -> Result<()> {
        let gone = |failure: &Failure| failure.is_missing() || failure.is(INDEX_NOT_FOUND);
        match call!(self.connection, drop_index, index_request(name, field, index)) {
            Err(failure) if gone(&failure) => return Ok(()),
            Err(failure) if failure.says("release it first") => {}
            dropped => return dropped.map(drop).map_err(Error::from),
        }
        self.release(name, None).await?;
        call!(self.connection, drop_index, index_request(name, field, index))?;
        Ok(())
    }
}

fn index_request(name: &CollectionName, field: &str, index: &str) -> pb::IndexRequest {
    pb::IndexRequest {
        db_name: name.database.clone(),
        collection_name: name.collection.clone(),
        field_name: field.to_owned(),
        index_name: index.to_owned(),
        ..Default::default()
    }
}

fn text(params: &[KeyValuePair]) -> String {
    let params = params.iter().map(|pair| format!("{}={}", pair.key, pair.value)).collect::<Vec<_>>();
    format!("{{{}}}", params.join(", "))
}
