//! Whether a queue and a catalog are of one source. Both may answer and belong to different ones: then rows of
//! collections that nobody knows would be passed over, without end and without a word.

use std::collections::BTreeMap;
use std::time::Duration;

use prost::Message;

use crate::catalog::{Catalog, CollectionId};
use crate::error::{Error, Result, Verdict};
use crate::message::{self, Header};
use crate::pb::log::Collection;
use crate::pb::milvus::proto::msg::CreateCollectionRequest;
use crate::position::{Channel, Position};
use crate::source::{Queue, QueueMessage};
use crate::tick::Tso;

/// Milvus' MsgType of an announcement.
const CREATE_COLLECTION: i32 = 100;
/// How long a message that is there may take.
const READ: Duration = Duration::from_secs(5);
/// RocksMQ makes its ids from the time; no offset of Kafka gets as far.
const FIRST_ID: i64 = 1 << 53;

/// Where the catalog says that a collection begins on a channel: the message that announces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Announcement {
    /// The collection's creation, which dates the message too.
    pub tso: Tso,
    /// The collection.
    pub of: CollectionId,
    /// The message.
    pub at: Position,
}

/// Of a collection on each of its channels.
pub fn announcements(collection: &Collection) -> impl Iterator<Item = (Channel, Announcement)> {
    let (of, tso) = (collection.id, Tso(collection.create_tso));
    collection.channels.iter().map(move |shard| {
        let at = Position::from(shard.start.unwrap_or_default());
        (shard.channel.as_str().into(), Announcement { of, tso, at })
    })
}

/// The newest one on each channel: it is kept the longest.
pub fn newest(catalog: &Catalog) -> BTreeMap<Channel, Announcement> {
    let mut newest = BTreeMap::<Channel, Announcement>::new();
    for (channel, announcement) in catalog.collections.values().flat_map(announcements) {
        let known = newest.entry(channel).or_insert(announcement);
        *known = announcement.max(*known);
    }
    newest
}

/// Refuses a queue whose channel does not hold the announcement where the catalog says that it is. One that retention
/// has removed proves nothing.
pub async fn check_origin(queue: &dyn Queue, channel: &Channel, announced: Announcement) -> Result<()> {
    let other = |what: &str| {
        let Announcement { of, at, .. } = announced;
        let says = format!("etcd says that collection {of} begins at position {at} of channel {channel}");
        Err(Error::operator(format!("the queue is not that of this etcd: {says}, but {what}"))
            .advice("let source.queue and source.etcd (root_path) name the queue and the etcd of one Milvus"))
    };
    let kept = match queue.bounds(channel).await {
        // to be tried again where brokers that have just started may not know it yet
        Err(Error { verdict, .. }) if !queue.exists(channel).await? => {
            return other("there is no such channel").map_err(|error| Error { verdict, ..error });
        }
        kept => kept?,
    };
    let counts_otherwise = match kept.is_empty() {
        true => announced.at.ledger.is_some() != kept.end.ledger.is_some(),
        false => kind(announced.at) != kind(kept.end),
    };
    if counts_otherwise {
        return other(&format!("positions there are like {}", kept.end));
    }
    if kept.is_empty() || announced.at < kept.start {
        return Ok(());
    }
    if announced.at >= kept.end {
        return other(&format!("it ends before {}", kept.end));
    }
    let found = read(queue, channel, announced.at).await;
    if found.as_ref().is_ok_and(|message| announces(message, announced)) {
        return Ok(());
    }
    // Retention may have been faster.
    if announced.at < queue.bounds(channel).await?.start {
        return Ok(());
    }
    match found {
        Ok(_) => other("another message is there"),
        Err(error) if error.verdict == Verdict::Refused => other(&error.message),
        Err(error) => Err(error.context(format!("looking for the begin of collection {}", announced.of))),
    }
}

async fn read(queue: &dyn Queue, channel: &Channel, at: Position) -> Result<QueueMessage> {
    let mut subscription = queue.subscribe(channel, at).await?;
    let read = tokio::time::timeout(READ, subscription.next()).await;
    read.unwrap_or_else(|_| Err(Error::retry(format!("channel {channel} gives nothing"))))
}

/// By the TSO, or by the id: of a collection that came by Milvus' own replication etcd has the date of its origin.
fn announces(message: &QueueMessage, announced: Announcement) -> bool {
    let is_creation = |header: Header| {
        header.msg_type == CREATE_COLLECTION
            && (header.tso == announced.tso
                || CreateCollectionRequest::decode(message.payload.clone())
                    .is_ok_and(|request| request.collection_id == announced.of))
    };
    message.position == announced.at && message::header(&message.payload).is_ok_and(is_creation)
}

/// Kafka counts from 0, RocksMQ's ids are times, Pulsar has ledgers.
fn kind(position: Position) -> (bool, bool) {
    (position.ledger.is_some(), position.ledger.is_none() && position.offset >= FIRST_ID)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::milvus::proto::common::MsgBase;
    use crate::source::CatalogSource;
    use crate::source::memory::{CollectionSpec, MemorySource};

    fn source(others_before: usize) -> MemorySource {
        let mut source = MemorySource::new(1);
        source.advance(others_before as u64);
        for _ in 0..others_before {
            source.refuse_collection();
        }
        source.create_collection(CollectionSpec::new("docs"));
        source.tick();
        source
    }

    async fn check(queue: &MemorySource, catalog: &MemorySource) -> Result<()> {
        let live = catalog.catalog.reader().read().await?.live;
        for (channel, announcement) in newest(&live) {
            check_origin(&queue.queue, &channel, announcement).await?;
        }
        Ok(())
    }

    #[tokio::test]
    async fn a_queue_and_a_catalog_of_different_sources_are_refused() {
        let (one, two) = (source(0), source(3));
        check(&one, &one).await.unwrap();
        check(&two, &two).await.unwrap();
        for (queue, catalog, why) in
            [(&one, &two, "it ends before"), (&two, &one, "another message is there")]
        {
            let error = check(queue, catalog).await.unwrap_err();
            assert!(!error.is_retry() && error.message.contains("is not that of this etcd"), "{error}");
            assert!(error.message.contains(why) && error.advice.is_some(), "{error}");
        }
    }

    #[tokio::test]
    async fn what_retention_has_removed_proves_nothing() {
        let source = source(3);
        let (channel, announcement) =
            newest(&source.catalog.reader().read().await.unwrap().live).pop_first().unwrap();
        source.queue.trim(&channel, announcement.at.next());
        check_origin(&source.queue, &channel, announcement).await.unwrap();
    }

    #[tokio::test]
    async fn a_channel_that_is_not_there_is_another_source_s() {
        let source = source(0);
        let (_, announcement) =
            newest(&source.catalog.reader().read().await.unwrap().live).pop_first().unwrap();
        let nowhere = Channel::from("by-dev-rootcoord-dml_77");
        let error = check_origin(&source.queue, &nowhere, announcement).await.unwrap_err();
        assert!(
            error.verdict == Verdict::Operator && error.message.contains("there is no such channel"),
            "{error}"
        );
    }

    #[test]
    fn a_collection_that_milvus_replicated_is_known_by_its_id() {
        let announcement = Announcement { tso: Tso(9), of: 7, at: Position::offset(3) };
        for (msg_type, timestamp, collection_id, is_it) in [
            (100, 9, 0, true),
            (100, 5, 7, true),
            (100, 5, 8, false),
            (101, 9, 7, false),
            (1200, 9, 7, false),
        ] {
            let base = Some(MsgBase { msg_type, timestamp, ..MsgBase::default() });
            let payload = CreateCollectionRequest { base, collection_id }.encode_to_vec().into();
            let message = QueueMessage { position: announcement.at, payload };
            assert_eq!(announces(&message, announcement), is_it, "{message:?}");
        }
    }

    #[test]
    fn queues_that_count_otherwise_are_told_apart() {
        let (kafka, rocksmq) = (Position::offset(7), Position::offset(470_656_465_160_896_520));
        let kinds = [kafka, rocksmq, Position::entry(7, 1, 0)].map(kind);
        assert!(kinds[0] != kinds[1] && kinds[1] != kinds[2] && kinds[0] != kinds[2], "{kinds:?}");
    }
}
