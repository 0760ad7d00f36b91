//! A broker of one topic, which does to its readers what brokers do.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::BytesMut;
use futures::StreamExt;
use pulsar::Payload;
use pulsar::message::{Codec, Message as Frame};
use pulsar::proto::base_command::Type;
use pulsar::proto::{
    BaseCommand, CommandConnected, CommandError, CommandGetLastMessageIdResponse, CommandLookupTopicResponse,
    CommandMessage, CommandPartitionedTopicMetadataResponse, CommandSuccess, MessageIdData, MessageMetadata,
    ServerError,
};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::codec::{Encoder, Framed};

use super::{EntryId, LookupType, PulsarOptions, PulsarQueue, command};

/// What a slow link carries at once, and how long that takes.
const PIECE: (usize, Duration) = (1 << 10, Duration::from_secs(1));

/// A broker. Clones are the same one.
#[derive(Clone)]
pub struct Broker {
    topic: String,
    url: String,
    state: Arc<Mutex<State>>,
    changed: Arc<watch::Sender<()>>,
}

#[derive(Default)]
pub struct State {
    entries: BTreeMap<EntryId, Vec<u8>>,
    /// The ledger that is written to.
    ledger: u64,
    /// Entries from here on are not sent yet.
    pub held_back: Option<EntryId>,
    /// Where a message TTL has moved all readers to, in turn.
    moves: Vec<EntryId>,
    /// A reader is moved to the last entry when it has got so many.
    pub moved_after: Option<usize>,
    /// What is asked about partitions.
    pub partitions: CommandPartitionedTopicMetadataResponse,
    /// The link to it is slow.
    pub slow: bool,
}

struct Served {
    next: EntryId,
    /// Where it stands for the broker.
    mark: EntryId,
    moves: usize,
    sent: usize,
    permits: u32,
}

impl Broker {
    /// Serves a topic, `dml_0` or a partition of it.
    pub async fn of(topic: &str) -> Broker {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("pulsar://{}", listener.local_addr().unwrap());
        let topic = format!("persistent://public/default/{topic}");
        let broker = Broker { topic, url, state: Arc::default(), changed: Arc::default() };
        let served = broker.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let broker = served.clone();
                tokio::spawn(async move { broker.serve(stream).await });
            }
        });
        broker
    }

    pub fn queue(&self) -> PulsarQueue {
        PulsarQueue::connect(&PulsarOptions { url: self.url.clone(), ..PulsarOptions::default() }).unwrap()
    }

    /// Writes entries of one message each.
    pub fn write(&self, ledger: u64, entries: Range<i64>, size: usize) {
        self.change(|state| {
            state.ledger = ledger;
            state.entries.extend(entries.map(|entry| (EntryId { ledger, entry }, vec![b'm'; size])));
        });
    }

    /// A message TTL expires all before an entry.
    pub fn expire(&self, before: EntryId) {
        self.change(|state| state.moves.push(before));
    }

    /// Retention removes all before an entry.
    pub fn trim(&self, before: EntryId) {
        self.change(|state| state.entries.retain(|id, _| *id >= before));
    }

    pub fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Until the client hangs up.
    async fn serve(&self, stream: TcpStream) -> Option<()> {
        let (mut frames, mut changed) = (Framed::new(stream, Codec), self.changed.subscribe());
        let mut reader = None;
        loop {
            let frame = match self.due(&mut reader) {
                Some(entry) => entry,
                None => tokio::select! {
                    frame = frames.next() => match self.answer(frame?.ok()?.command, &mut reader) {
                        Some(command) => Frame { command, payload: None },
                        None => continue,
                    },
                    _ = changed.changed() => continue,
                },
            };
            let (slow, mut bytes) = (self.lock().slow && frame.payload.is_some(), BytesMut::new());
            Codec.encode(frame, &mut bytes).ok()?;
            for piece in bytes.chunks(if slow { PIECE.0 } else { usize::MAX }) {
                if slow {
                    tokio::time::sleep(PIECE.1).await;
                }
                frames.get_mut().write_all(piece).await.ok()?;
            }
        }
    }

    /// The next entry that a reader gets.
    fn due(&self, reader: &mut Option<Served>) -> Option<Frame> {
        let (reader, state) = (reader.as_mut()?, self.lock());
        for to in &state.moves[reader.moves..] {
            (reader.next, reader.mark) = (reader.next.max(*to), reader.mark.max(*to));
        }
        reader.moves = state.moves.len();
        let (id, data) = state.entries.range(reader.next..).next()?;
        if reader.permits == 0 || state.held_back.is_some_and(|from| *id >= from) {
            return None;
        }
        (reader.permits, reader.sent) = (reader.permits - 1, reader.sent + 1);
        reader.next = EntryId { entry: id.entry + 1, ..*id };
        if Some(reader.sent) == state.moved_after {
            reader.next =
                state.entries.last_key_value().map_or(reader.next, |(last, _)| reader.next.max(*last));
            reader.mark = reader.next;
        }
        let message = CommandMessage { message_id: message_id(*id), ..CommandMessage::default() };
        let metadata = MessageMetadata { producer_name: "p".into(), ..MessageMetadata::default() };
        let command = command(Type::Message, |command| command.message = Some(message));
        Some(Frame { command, payload: Some(Payload { metadata, data: data.clone() }) })
    }

    fn answer(&self, asked: BaseCommand, reader: &mut Option<Served>) -> Option<BaseCommand> {
        let state = self.lock();
        let first = || state.entries.keys().next().copied();
        Some(if asked.connect.is_some() {
            let connected = CommandConnected { server_version: "test".into(), ..Default::default() };
            command(Type::Connected, |command| command.connected = Some(connected))
        } else if let Some(lookup) = asked.lookup_topic {
            let found = CommandLookupTopicResponse {
                response: Some(LookupType::Connect.into()),
                broker_service_url: Some(self.url.clone()),
                ..Default::default()
            };
            let none = CommandLookupTopicResponse {
                response: Some(LookupType::Failed.into()),
                error: Some(ServerError::TopicNotFound.into()),
                ..Default::default()
            };
            let answer = if lookup.topic == self.topic { found } else { none };
            command(Type::LookupResponse, |command| command.lookup_topic_response = Some(answer))
        } else if asked.partition_metadata.is_some() {
            let answer = Some(state.partitions.clone());
            command(Type::PartitionedMetadataResponse, |command| command.partition_metadata_response = answer)
        } else if let Some(subscribe) = asked.subscribe {
            let from = subscribe.start_message_id.filter(|id| id.ledger_id != u64::MAX);
            let from = from.map(|id| EntryId { ledger: id.ledger_id, entry: id.entry_id.cast_signed() });
            let from = from.or_else(first).unwrap_or(EntryId { ledger: state.ledger, entry: 0 });
            let moves = state.moves.len();
            *reader = Some(Served { next: from, mark: from, moves, sent: 0, permits: 0 });
            command(Type::Success, |command| command.success = Some(CommandSuccess::default()))
        } else if let Some(flow) = asked.flow {
            reader.as_mut()?.permits += flow.message_permits;
            return None;
        } else if asked.get_last_message_id.is_some() {
            let mark = reader.as_ref()?.mark.max(first().unwrap_or(EntryId { ledger: 0, entry: 0 }));
            let last = state.entries.keys().next_back().copied();
            let answer = CommandGetLastMessageIdResponse {
                last_message_id: message_id(last.unwrap_or(EntryId { ledger: state.ledger, entry: -1 })),
                request_id: 0,
                consumer_mark_delete_position: Some(message_id(EntryId { entry: mark.entry - 1, ..mark })),
            };
            command(Type::GetLastMessageIdResponse, |command| {
                command.get_last_message_id_response = Some(answer);
            })
        } else {
            let error = CommandError { message: format!("{asked:?}"), ..CommandError::default() };
            command(Type::Error, |command| command.error = Some(error))
        })
    }
}

fn message_id(EntryId { ledger, entry }: EntryId) -> MessageIdData {
    MessageIdData { ledger_id: ledger, entry_id: entry.cast_unsigned(), ..MessageIdData::default() }
}
