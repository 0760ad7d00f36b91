//! In place of the real connections until they are merged: same names, same options, every call fails.
#![allow(missing_docs)]

use std::ops::Range;

use async_trait::async_trait;

use crate::change::{CollectionName, DefinitionChange, RowChange};
use crate::error::{Error, Result};
use crate::position::{Channel, Position};
use crate::source::{CatalogSource, Observation, Queue, Subscription};
use crate::target::{Mode, Target};

fn none<T>() -> Result<T> {
    Err(Error::operator("this build has no connections"))
}

pub struct KafkaOptions {
    pub brokers: String,
}
pub struct KafkaQueue;

impl KafkaQueue {
    pub async fn connect(options: KafkaOptions) -> Result<KafkaQueue> {
        let _ = options.brokers;
        Ok(KafkaQueue)
    }
}

#[async_trait]
impl Queue for KafkaQueue {
    async fn identity(&self) -> Result<String> {
        none()
    }
    async fn bounds(&self, _: &Channel) -> Result<Range<Position>> {
        none()
    }
    async fn position_at(&self, _: &Channel, _: u64) -> Result<Position> {
        none()
    }
    async fn subscribe(&self, _: &Channel, _: Position) -> Result<Box<dyn Subscription>> {
        none()
    }
}

pub struct EtcdOptions {
    pub endpoints: Vec<String>,
    pub root_path: String,
    pub meta_sub_path: String,
    pub username: Option<String>,
    pub password: Option<String>,
}
pub struct EtcdCatalog;

impl EtcdCatalog {
    pub async fn connect(options: EtcdOptions) -> Result<EtcdCatalog> {
        let _ =
            (options.endpoints, options.root_path, options.meta_sub_path, options.username, options.password);
        Ok(EtcdCatalog)
    }
}

#[async_trait]
impl CatalogSource for EtcdCatalog {
    async fn identity(&mut self) -> Result<String> {
        none()
    }
    async fn read(&mut self) -> Result<Observation> {
        none()
    }
}

pub struct MilvusOptions {
    pub uri: String,
    pub token: Option<String>,
}
pub struct MilvusTarget;

impl MilvusTarget {
    pub fn new(options: MilvusOptions) -> Result<MilvusTarget> {
        let _ = (options.uri, options.token);
        Ok(MilvusTarget)
    }
}

#[async_trait]
impl Target for MilvusTarget {
    async fn hello(&self) -> Result<String> {
        none()
    }
    async fn define(&self, _: &DefinitionChange) -> Result<()> {
        none()
    }
    async fn write(&self, _: &CollectionName, _: &RowChange, _: Mode) -> Result<()> {
        none()
    }
}
