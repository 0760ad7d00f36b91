//! A topic read from an entry on, over a connection of its own, without leaving a trace: the broker forgets the
//! subscription with the connection, nothing is acknowledged, and retention does not wait for it.
//!
//! What is not read stays in the connection: here waits one frame. How many messages the broker may send before the
//! next permit depends on how large they are, so that it need not hold them either.

use pulsar::proto::base_command::Type;
use pulsar::proto::{
    BaseCommand, CommandFlow, CommandGetLastMessageId, CommandSeek, CommandSubscribe, MessageIdData,
};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::connection::{ANSWER, Connection, command};
use super::entry::{Entry, EntryId};
use super::failure::{no_topic, silent};
use crate::error::{Error, Result};
use crate::position::Position;

/// A connection asks one thing at a time.
const REQUEST: u64 = 0;
/// Bytes that a broker may have under way.
const UNDER_WAY: usize = 4 << 20;
/// Messages that it may have under way.
const MOST: usize = 512;
/// As long as nobody knows how large they are.
const FIRST: usize = 16;

/// A topic being read.
pub(super) struct Reader {
    connection: Connection,
    topic: String,
    subscription: String,
    /// The one consumer of the connection.
    consumer: u64,
    /// Messages that the broker may still send.
    permits: usize,
    /// Of the largest of the last frames.
    size: usize,
}

/// What comes from the broker.
#[derive(Debug)]
pub(super) enum Event {
    /// An entry. They come in the order of the topic, the first one where the reading began, or later.
    Entry(Entry),
    /// The answer to [`Reader::ask_last`].
    Last(Last),
    /// The broker no longer serves the topic on this connection, for now or for ever.
    Closed,
}

/// Where a topic ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Last {
    /// The last message. None where nothing is kept.
    pub message: Option<Position>,
    /// Where this reader stands for the broker: all before this entry is behind it.
    pub next: Option<EntryId>,
}

impl Reader {
    /// Reads a topic from an entry on (inclusive), or from the first that is kept. The topic must exist: it is not
    /// created, and None where it does not. The broker sends nothing before the first [`event`](Reader::event).
    pub async fn open(
        connection: Connection,
        topic: String,
        from: Option<EntryId>,
    ) -> Result<Option<Reader>> {
        let subscription = format!("tapedeck-{}", Uuid::new_v4());
        let mut reader = Reader { connection, topic, subscription, consumer: 0, permits: 0, size: 0 };
        Ok(reader.subscribe(from).await?.then_some(reader))
    }

    async fn subscribe(&mut self, from: Option<EntryId>) -> Result<bool> {
        // a broker begins one entry before a start within an entry
        let start =
            from.map_or((u64::MAX, u64::MAX), |EntryId { ledger, entry }| (ledger, entry.cast_unsigned()));
        let subscribe = CommandSubscribe {
            topic: self.topic.clone(),
            subscription: self.subscription.clone(),
            sub_type: pulsar::SubType::Exclusive.into(),
            consumer_id: self.consumer,
            request_id: REQUEST,
            durable: Some(false),
            start_message_id: Some(MessageIdData {
                ledger_id: start.0,
                entry_id: start.1,
                batch_index: from.map(|_| 0),
                ..MessageIdData::default()
            }),
            initial_position: Some(pulsar::proto::command_subscribe::InitialPosition::Earliest.into()),
            force_topic_creation: Some(false),
            ..CommandSubscribe::default()
        };
        let subscribe = command(Type::Subscribe, |command| command.subscribe = Some(subscribe));
        let answer = |command: BaseCommand| match (command.success, command.error) {
            (Some(_), _) => Some(true),
            (None, Some(error)) if no_topic(error.error, &error.message) => Some(false),
            _ => None,
        };
        self.connection.ask(subscribe, answer).await
    }

    /// Moves to the first message that was published at a time (Unix milliseconds) or later.
    pub async fn seek(&mut self, millis: u64) -> Result<()> {
        let seek = CommandSeek {
            consumer_id: self.consumer,
            request_id: REQUEST,
            message_publish_time: Some(millis),
            ..CommandSeek::default()
        };
        let seek = command(Type::Seek, |command| command.seek = Some(seek));
        self.connection.ask(seek, |command| command.success.map(drop)).await?;
        // the broker throws the consumer out, soon, and keeps the place of its subscription
        self.consumer += 1;
        self.subscribe(None).await.map(drop)
    }

    /// Where the topic ends now. Only before the first event.
    pub async fn last(&mut self) -> Result<Last> {
        self.connection.ask(self.question(), last).await
    }

    /// Asks where the topic ends; the answer comes as an event. Safe to cancel.
    pub async fn ask_last(&mut self) -> Result<()> {
        self.connection.send(self.question()).await
    }

    fn question(&self) -> BaseCommand {
        let ask = CommandGetLastMessageId { consumer_id: self.consumer, request_id: REQUEST };
        command(Type::GetLastMessageId, |command| command.get_last_message_id = Some(ask))
    }

    /// What comes next. Safe to cancel.
    pub async fn event(&mut self) -> Result<Event> {
        loop {
            self.permit().await?;
            let frame = self.connection.receive().await?;
            match (frame.command, frame.payload) {
                (BaseCommand { message: Some(message), .. }, Some(payload)) => {
                    let in_batch = payload.metadata.num_messages_in_batch.unwrap_or(1);
                    self.permits = self.permits.saturating_sub(usize::try_from(in_batch).unwrap_or(1));
                    self.size = payload.data.len().max(self.size - self.size / 8);
                    let entry = Entry::read(&message, payload);
                    return entry.map(Event::Entry).map_err(|error| error.context(&self.topic));
                }
                (BaseCommand { close_consumer: Some(closed), .. }, _)
                    if closed.consumer_id == self.consumer =>
                {
                    return Ok(Event::Closed);
                }
                (BaseCommand { reached_end_of_topic: Some(_), .. }, _) => {
                    return Err(Error::operator(format!("{}: the topic was terminated", self.topic))
                        .advice("Milvus terminates no topic: find out who did; nothing can follow in it"));
                }
                (BaseCommand { error: Some(error), .. }, _) => {
                    return Err(self.connection.refused(&error));
                }
                (command, _) => {
                    if let Some(last) = last(command) {
                        return Ok(Event::Last(last));
                    }
                }
            }
        }
    }

    /// When more came of an entry that is still under way.
    pub fn heard(&self) -> Instant {
        self.connection.heard()
    }

    /// The next entry, which is known to exist.
    pub async fn entry(&mut self) -> Result<Entry> {
        self.until(|event| if let Event::Entry(entry) = event { Some(entry) } else { None }).await
    }

    /// Where this reader stands for the broker: all before that is behind it.
    pub async fn stands(&mut self) -> Result<Option<EntryId>> {
        self.ask_last().await?;
        self.until(|event| if let Event::Last(last) = event { Some(last.next) } else { None }).await
    }

    /// What is certain to come.
    async fn until<T>(&mut self, pick: impl Fn(Event) -> Option<T>) -> Result<T> {
        let mut until = Instant::now() + ANSWER;
        loop {
            match timeout_at(until, self.event()).await {
                Ok(Ok(Event::Closed)) => return Err(silent(self.connection.address())),
                Ok(event) => match pick(event?) {
                    Some(picked) => return Ok(picked),
                    None => until = Instant::now() + ANSWER,
                },
                Err(_) if self.heard() + ANSWER > until => until = self.heard() + ANSWER,
                Err(_) => return Err(silent(self.connection.address())),
            }
        }
    }

    /// Gives out permits when less than half of what may be under way is left.
    async fn permit(&mut self) -> Result<()> {
        let most = UNDER_WAY.checked_div(self.size).map_or(FIRST, |most| most.clamp(1, MOST));
        if self.permits > most / 2 {
            return Ok(());
        }
        let more = most - self.permits;
        // counted before they are sent: when this is cancelled the frame waits in the connection
        self.permits = most;
        let flow =
            CommandFlow { consumer_id: self.consumer, message_permits: u32::try_from(more).unwrap_or(1) };
        self.connection.send(command(Type::Flow, |command| command.flow = Some(flow))).await
    }
}

/// Brokers say -1 for what there is not.
fn last(command: BaseCommand) -> Option<Last> {
    let answer = command.get_last_message_id_response?;
    let id = answer.last_message_id;
    let batch = usize::try_from(id.batch_index.unwrap_or_default()).unwrap_or_default();
    let entry = |id: &MessageIdData| EntryId { ledger: id.ledger_id, entry: id.entry_id.cast_signed() };
    let behind = answer.consumer_mark_delete_position.as_ref().map(entry);
    Some(Last {
        message: (entry(&id).entry >= 0).then(|| entry(&id).message(batch)),
        next: behind.map(|id| EntryId { entry: id.entry.saturating_add(1), ..id }),
    })
}
