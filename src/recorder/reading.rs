//! One channel of the source while it is read: its place, its tick, and the messages above the watermark.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::error::{Error, Result};
use crate::message::{self, Header, Kind};
use crate::pb::log as pb;
use crate::position::{Channel, Position};
use crate::source::{Queue, QueueMessage, Subscription};
use crate::tick::Tso;

/// A message that waits for the watermark.
#[derive(Clone, Debug)]
pub struct Held {
    /// Its place.
    pub position: Position,
    /// Its TSO.
    pub tso: Tso,
    /// What its head says.
    pub header: Header,
    /// Its bytes.
    pub payload: Bytes,
}

/// A channel being read.
pub struct Reading {
    /// Its name.
    pub channel: Channel,
    /// The last tick read: every message up to it has been read. Only moves forward.
    pub tick: Tso,
    /// Nothing up to here is to come, as far as announcements tell.
    pub over: Tso,
    /// When the last message came.
    pub heard: Instant,
    /// What the queue holds of it; none: it was not asked.
    asked: Option<AbortOnDropHandle<Result<Range<Position>>>>,
    /// The newest announcement read. A channel may get no tick after the drop of its last collection, but the drop is
    /// announced on it, later than it happened.
    announced: Tso,
    subscription: Box<dyn Subscription>,
    held: VecDeque<Held>,
    held_bytes: usize,
    /// TSO and number of each Insert and Delete that was held since the last drain.
    ids: BTreeSet<(Tso, i64)>,
    last: Option<QueueMessage>,
    next: Position,
    start: Position,
    opened: bool,
    /// Where the subscription begins.
    begins: Position,
    /// Where the last commit left the channel, until a message was read.
    expected: Option<pb::ChannelRange>,
    /// The tick of the last commit: messages from before it may be read again.
    committed_tick: Tso,
    malformed: Option<QueueMessage>,
    /// Requests up to this TSO are not those of this log.
    above: Tso,
}

impl Reading {
    /// A channel from a position on that follows no commit.
    pub fn open(channel: Channel, subscription: Box<dyn Subscription>, from: Position) -> Reading {
        Reading {
            channel,
            tick: Tso::ZERO,
            over: Tso::ZERO,
            heard: Instant::now(),
            asked: None,
            announced: Tso::ZERO,
            subscription,
            held: VecDeque::new(),
            held_bytes: 0,
            ids: BTreeSet::new(),
            last: None,
            next: from,
            start: from,
            opened: true,
            begins: from,
            expected: None,
            committed_tick: Tso::ZERO,
            malformed: None,
            above: Tso::ZERO,
        }
    }

    /// Without the requests up to a TSO.
    pub fn above(self, above: Tso) -> Reading {
        Reading { above, ..self }
    }

    /// A channel from where the last commit left it, `subscription` beginning at its anchor where that is still kept.
    pub fn resume(subscription: Box<dyn Subscription>, begins: Position, range: pb::ChannelRange) -> Reading {
        let end = Position::from(range.end.unwrap_or_default());
        let mut reading = Reading::open(range.channel.as_str().into(), subscription, end);
        reading.opened = false;
        reading.begins = begins;
        reading.committed_tick = Tso(range.tick);
        reading.expected = Some(range);
        reading
    }

    /// Bytes of the messages that wait.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// How many messages wait.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// The position that comes next.
    pub fn next(&self) -> Position {
        self.next
    }

    /// Goes on behind a hole. What was read before stays.
    pub fn go_on(&mut self, subscription: Box<dyn Subscription>, from: Position) {
        (self.subscription, self.begins, self.next) = (subscription, from, from);
        (self.last, self.expected) = (None, None);
        self.start = self.held.front().map_or(from, |held| held.position);
        self.opened = true;
    }

    /// Waits for one message and takes it in. Messages at or below the watermark are in earlier commits. Cancel safe.
    pub async fn pull(&mut self, watermark: Tso) -> Result<()> {
        if let Some((header, message)) = self.receive().await? {
            self.take(header, &message, watermark)?;
            self.advance(message);
        }
        Ok(())
    }

    /// Whether something is announced that may be the end: but what was written before it can still come.
    pub fn may_be_over(&self) -> bool {
        self.announced > self.tick.max(self.over)
    }

    /// Asks the queue whether it holds more, where nothing has come for long: one that is away is silent too. What was
    /// announced is the end if it does not. Cancel safe: the answer may take longer than it is waited for.
    pub async fn ask_for_end(&mut self, queue: &Arc<dyn Queue>) -> Result<()> {
        let (queue, channel) = (queue.clone(), self.channel.clone());
        let asked = self.asked.get_or_insert_with(|| {
            AbortOnDropHandle::new(tokio::spawn(async move { queue.bounds(&channel).await }))
        });
        let answer = asked.await;
        self.asked = None;
        match answer.unwrap_or_else(|died| Err(Error::retry(format!("asking for the end died: {died}")))) {
            Ok(kept) if kept.end > self.next => self.heard = Instant::now(),
            Err(error) if error.is_retry() => return Err(error),
            // Also where the queue has no such channel any more.
            _ => self.over = self.announced,
        }
        Ok(())
    }

    /// Takes in a request of the replicate channel, which has no ticks and keeps its own order. Cancel safe.
    pub async fn pull_request(&mut self) -> Result<()> {
        let Some((header, message)) = self.receive().await? else { return Ok(()) };
        if header.tso == Tso::ZERO || header.tso > self.above {
            if header.kind == Kind::Request
                && let Err(error) = message::request(message.payload.clone())
            {
                return Err(self.unreadable(message, error));
            }
            let (position, payload) = (message.position, message.payload.clone());
            self.held.push_back(Held { position, tso: header.tso, header, payload });
        }
        self.advance(message);
        Ok(())
    }

    /// The message that ended the reading because nobody can read it.
    pub fn take_malformed(&mut self) -> Option<QueueMessage> {
        self.malformed.take()
    }

    /// The next message that was not read before.
    async fn receive(&mut self) -> Result<Option<(Header, QueueMessage)>> {
        let message = self.subscription.next().await?;
        self.heard = Instant::now();
        if let Some(expected) = self.expected.take() {
            check_anchor(&expected, self.begins, &message)?;
        }
        if message.position < self.next {
            self.remember(message);
            return Ok(None);
        }
        match message::header(&message.payload) {
            Ok(header) => Ok(Some((header, message))),
            Err(error) => Err(self.unreadable(message, error)),
        }
    }

    /// Takes in the last message before the place of the last commit: what it says of time holds from there on, and it may
    /// be the last one that the channel ever gets.
    fn remember(&mut self, message: QueueMessage) {
        match message::header(&message.payload) {
            Ok(Header { kind: Kind::Tick, tso, .. }) => self.tick = self.tick.max(tso),
            Ok(Header { kind: Kind::Announcement, tso, .. }) => self.announced = self.announced.max(tso),
            _ => {}
        }
        self.last = Some(message);
    }

    fn unreadable(&mut self, message: QueueMessage, error: Error) -> Error {
        let place = format!("message at position {} of channel {}", message.position, self.channel);
        self.malformed = Some(message);
        error.context(place)
    }

    fn advance(&mut self, message: QueueMessage) {
        self.next = message.position.next();
        self.last = Some(message);
    }

    fn take(&mut self, header: Header, message: &QueueMessage, watermark: Tso) -> Result<()> {
        let mut tso = header.tso;
        match header.kind {
            Kind::Tick if tso < self.tick => return Err(self.backwards(message.position, tso, "the tick")),
            Kind::Tick => {
                self.tick = tso;
                return Ok(());
            }
            Kind::Insert | Kind::Delete if tso <= self.tick => {
                return Err(self.backwards(message.position, tso, "the message"));
            }
            Kind::Insert | Kind::Delete if tso <= watermark => return Ok(()),
            Kind::Announcement => {
                self.announced = self.announced.max(tso);
                return Ok(());
            }
            Kind::Insert | Kind::Delete if header.id != 0 && !self.ids.insert((tso, header.id)) => {
                let (channel, position) = (&self.channel, message.position);
                tracing::info!(%channel, %position, "a message that the source has sent twice is passed over, as it does itself");
                return Ok(());
            }
            Kind::Insert | Kind::Delete => {}
            Kind::Request | Kind::Other | Kind::Streaming => {
                tso = tso.max(self.tick.next());
                // It was given this TSO before. Where the tick before it is not read again that cannot be told: rather
                // twice than never.
                if self.tick > Tso::ZERO && tso <= watermark {
                    return Ok(());
                }
            }
        }
        self.held_bytes += message.payload.len();
        self.held.push_back(Held {
            position: message.position,
            tso,
            header,
            payload: message.payload.clone(),
        });
        Ok(())
    }

    /// Removes the messages at or below a watermark, in the order of the queue.
    pub fn drain(&mut self, watermark: Tso) -> Vec<Held> {
        let due = self.held.iter().filter(|held| held.tso <= watermark).cloned().collect::<Vec<_>>();
        self.held.retain(|held| held.tso > watermark);
        self.ids = self.ids.split_off(&(watermark.next(), i64::MIN));
        self.held_bytes = self.held.iter().map(|held| held.payload.len()).sum();
        due
    }

    /// Removes the requests before the first one above a watermark: a later one waits for it, so that what is taken
    /// in is always a prefix of the channel.
    pub fn drain_prefix(&mut self, watermark: Tso) -> Vec<Held> {
        let due = self.held.iter().take_while(|held| held.tso <= watermark).count();
        self.held.drain(..due).collect()
    }

    /// The range that the next commit covers, as of now; the one after begins where it ends.
    pub fn close_range(&mut self) -> pb::ChannelRange {
        let first_held = self.held.front();
        let end = first_held.map_or(self.next, |held| held.position);
        let anchor = match first_held {
            Some(held) => Some((held.position, &held.payload)),
            None => self.last.as_ref().map(|message| (message.position, &message.payload)),
        };
        let range = pb::ChannelRange {
            channel: self.channel.to_string(),
            start: Some(self.start.into()),
            end: Some(end.into()),
            tick: self.tick.max(self.committed_tick).0,
            anchor: anchor.map(|(position, _)| position.into()),
            anchor_digest: anchor.map(|(_, payload)| digest(payload)).unwrap_or_default(),
            opened: self.opened,
        };
        let range = self.keep_anchor(range);
        self.start = end;
        self.opened = false;
        range
    }

    /// Until a message has come, the anchor of the commit before stays.
    fn keep_anchor(&self, mut range: pb::ChannelRange) -> pb::ChannelRange {
        if let Some(expected) = self.expected.as_ref().filter(|_| range.anchor.is_none()) {
            range.anchor = expected.anchor;
            range.anchor_digest = expected.anchor_digest.clone();
        }
        range
    }

    fn backwards(&self, position: Position, tso: Tso, what: &str) -> Error {
        Error::refused(format!(
            "{what} at position {position} of channel {} has TSO {tso}, but tick {} came before it",
            self.channel, self.tick
        ))
        .advice(
            "the source broke its own order: look at its root coordinator; nothing after this was recorded",
        )
    }
}

fn digest(payload: &[u8]) -> Bytes {
    Bytes::copy_from_slice(blake3::hash(payload).as_bytes())
}

/// The message at the anchor must be the one that was recorded. Where the subscription begins there, it must be there.
fn check_anchor(expected: &pb::ChannelRange, begins: Position, message: &QueueMessage) -> Result<()> {
    let Some(anchor) = expected.anchor.map(Position::from) else { return Ok(()) };
    let same = if message.position == anchor {
        digest(&message.payload) == expected.anchor_digest
    } else {
        begins != anchor
    };
    if same {
        return Ok(());
    }
    Err(Error::refused(format!(
        "channel {} holds another message at position {}, or none, than when it was recorded: the topic was re-created \
         or truncated",
        expected.channel, anchor
    ))
    .advice("record this source into a new log"))
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::error::Verdict;
    use crate::pb::milvus::proto::common::{MsgBase, MsgHeader};

    struct One(i64);

    #[async_trait::async_trait]
    impl Subscription for One {
        async fn next(&mut self) -> Result<QueueMessage> {
            Ok(QueueMessage { position: Position::offset(self.0), payload: Bytes::from_static(b"recorded") })
        }
    }

    #[tokio::test]
    async fn a_channel_is_read_on_only_after_the_message_recorded_last_unless_it_has_expired() {
        let pull = async |begins, first, recorded: &[u8]| {
            let range = pb::ChannelRange {
                channel: "dml_0".into(),
                end: Some(Position::offset(8).into()),
                anchor: Some(Position::offset(7).into()),
                anchor_digest: digest(recorded),
                ..pb::ChannelRange::default()
            };
            let mut reading = Reading::resume(Box::new(One(first)), Position::offset(begins), range);
            let error = reading.pull(Tso::ZERO).await.err();
            error.filter(|error| error.verdict == Verdict::Refused && error.message.contains("re-created"))
        };
        assert!(pull(7, 7, b"recorded").await.is_none());
        assert!(pull(8, 8, b"recorded").await.is_none(), "expired");
        for (first, recorded) in [(7, &b"another"[..]), (1000, b"recorded")] {
            let error = pull(7, first, recorded).await.expect("a refusal");
            assert!(error.message.contains("dml_0") && error.message.contains("position 7"), "{error}");
        }
    }

    struct Script(VecDeque<QueueMessage>);

    #[async_trait::async_trait]
    impl Subscription for Script {
        async fn next(&mut self) -> Result<QueueMessage> {
            self.0.pop_front().ok_or_else(|| Error::retry("nothing more"))
        }
    }

    #[tokio::test]
    async fn a_message_of_another_type_that_is_in_an_earlier_commit_is_passed_over_after_a_restart() {
        const OTHER: i32 = 1212;
        let of = |(offset, (msg_type, timestamp))| {
            let base = Some(MsgBase { msg_type, timestamp, ..MsgBase::default() });
            let payload = MsgHeader { base }.encode_to_vec().into();
            QueueMessage { position: Position::offset(offset), payload }
        };
        // a drop; then a message from before the commit, and one that came after the tick of its time
        let written = [(101, 30), (1200, 15), (OTHER, 16), (1200, 20), (OTHER, 12)];
        let messages = (7..).zip(written).map(of).collect::<VecDeque<_>>();
        let at = Some(Position::offset(7).into());
        let anchor_digest = messages.front().map(|anchor| digest(&anchor.payload)).unwrap();
        let range = pb::ChannelRange { end: at, anchor: at, anchor_digest, ..pb::ChannelRange::default() };
        let mut reading = Reading::resume(Box::new(Script(messages)), Position::offset(7), range);
        for _ in written {
            reading.pull(Tso(20)).await.unwrap();
        }
        let kept = reading.drain(Tso::MAX).into_iter().map(|held| (held.position.offset, held.tso));
        assert_eq!(kept.collect::<Vec<_>>(), [(11, Tso(20).next())]);
    }
}
