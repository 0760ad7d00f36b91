//! The source's own API, for the one thing that etcd does not tell: Milvus 2.3 keeps altered properties of a collection
//! in memory and stores them only with the collection's next change.

use std::time::Duration;

use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use crate::catalog::CollectionId;
use crate::change::CollectionName;
use crate::error::{Error, Result};
use crate::grpc::{Credential, endpoint};
use crate::pb::milvus::proto::common::KeyValuePair;
use crate::pb::milvus::proto::milvus::milvus_service_client::MilvusServiceClient;
use crate::pb::milvus::proto::milvus::{DescribeCollectionRequest, GetVersionRequest};
use crate::tls::{HTTP, Tls, advice, said};

const TIMEOUT: Duration = Duration::from_secs(10);
/// Milvus' code for a collection that does not exist.
const NOT_FOUND: i32 = 100;

/// A source Milvus that answers questions.
pub struct SourceMilvus {
    uri: String,
    service: MilvusServiceClient<InterceptedService<Channel, Credential>>,
}

impl SourceMilvus {
    /// Connects with the first question. `token` is `user:password` or an API key.
    pub fn new(uri: &str, token: Option<&str>, tls: Option<&Tls>) -> Result<SourceMilvus> {
        let channel = endpoint("source", uri, tls)?.timeout(TIMEOUT).connect_lazy();
        let service = MilvusServiceClient::with_interceptor(channel, Credential::new("source", token)?);
        Ok(SourceMilvus { uri: uri.to_owned(), service })
    }

    /// What the source says it is.
    pub async fn hello(&self) -> Result<String> {
        let answer = self.service.clone().get_version(GetVersionRequest {}).await;
        answer
            .map(|answer| format!("Milvus {}", answer.into_inner().version))
            .map_err(|status| self.failed(&status))
    }

    /// A collection's properties; none when the name is no longer that collection's.
    pub async fn properties(
        &self,
        id: CollectionId,
        name: &CollectionName,
    ) -> Result<Option<Vec<KeyValuePair>>> {
        let question = DescribeCollectionRequest {
            db_name: name.database.clone(),
            collection_name: name.collection.clone(),
            ..Default::default()
        };
        let answer = self.service.clone().describe_collection(question).await;
        let answer = answer.map_err(|status| self.failed(&status))?.into_inner();
        let status = answer.status.unwrap_or_default();
        match status.code {
            0 if status.error_code == 0 => Ok((answer.collection_id == id).then_some(answer.properties)),
            NOT_FOUND => Ok(None),
            code => {
                Err(Error::retry(format!("the source at {} answers {code}: {}", self.uri, status.reason)))
            }
        }
    }

    fn failed(&self, status: &tonic::Status) -> Error {
        let said = said(status);
        let message = format!("the source at {}: {said} ({:?})", self.uri, status.code());
        match status.code() {
            tonic::Code::Unauthenticated | tonic::Code::PermissionDenied => {
                Error::operator(message).advice("check source.milvus.token")
            }
            _ => {
                let otherwise = || "check source.milvus.uri and whether the source is up".to_owned();
                Error::retry(message).advice(advice(&said, "source.milvus", HTTP).unwrap_or_else(otherwise))
            }
        }
    }
}
