//! All channels of a source while they are read: which to pull from, how far they all are, what a cut takes.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::select_all;
use tokio::time::{Instant, timeout_at};

use crate::error::{Error, Result, Verdict};
use crate::pb::log as pb;
use crate::position::{Channel, Position};
use crate::source::{Queue, QueueMessage};
use crate::tick::Tso;

use super::CLOCK_SLACK_MS;
use super::definitions::Need;
use super::origin::check_origin;
use super::reading::{Held, Reading};

/// Requests of the replicate channel that may wait at once.
const REQUESTS_HELD: usize = 4096;

/// A channel that gives nothing for so long after the drop of a collection, and holds nothing more, gives nothing from
/// before it any more. A tick after the drop says the same at once.
const STRAGGLERS: Duration = Duration::from_secs(3);

/// Bytes that may wait while others go on beside a channel that is waited for.
const HELD_WHILE_WAITING: usize = 8 << 20;

/// The channels being read.
pub struct Channels {
    queue: Arc<dyn Queue>,
    readings: BTreeMap<Channel, Reading>,
    needs: BTreeMap<Channel, Need>,
    requests: Option<Reading>,
    /// What the subscription of the replicate channel has ended with.
    requests_end: Option<Error>,
    /// This run has seen that there was no replicate channel, or none of what it had to go on with.
    without_requests: bool,
    notes: Vec<String>,
}

impl Channels {
    /// No channels yet.
    pub fn new(queue: Arc<dyn Queue>) -> Channels {
        let (readings, needs, notes) = Default::default();
        let (requests, requests_end, without_requests) = Default::default();
        Channels { queue, readings, needs, requests, requests_end, without_requests, notes }
    }

    /// Opens a channel at a position that follows no commit.
    pub async fn open(&mut self, channel: &Channel, from: Position) -> Result<()> {
        let subscription = self.queue.subscribe(channel, from).await?;
        self.readings.insert(channel.clone(), Reading::open(channel.clone(), subscription, from));
        Ok(())
    }

    /// Opens the replicate channel with the requests since a TSO, but none up to the one at which the log opens. A source
    /// creates it with the first request that it carries: until then there is nothing to open, and then all of it is new,
    /// whenever the queue says that it was written.
    pub async fn open_requests(&mut self, channel: &Channel, since: Tso, opens_at: Tso) -> Result<()> {
        if self.requests.is_some() {
            return Ok(());
        }
        if !self.queue.exists(channel).await? {
            self.without_requests = true;
            return Ok(());
        }
        let millis = since.millis().saturating_sub(CLOCK_SLACK_MS);
        let from = match self.without_requests {
            true => self.queue.bounds(channel).await?.start,
            false => self.queue.position_at(channel, millis).await?,
        };
        let subscription = self.queue.subscribe(channel, from).await?;
        self.requests = Some(Reading::open(channel.clone(), subscription, from).above(opens_at));
        Ok(())
    }

    /// Continues a channel where the last commit left it; of the replicate channel no requests up to the TSO at which the
    /// log opens. Where it no longer holds what comes next it is left to [`open_requests`](Channels::open_requests).
    pub async fn resume(
        &mut self,
        range: pb::ChannelRange,
        requests: Option<&Channel>,
        opens_at: Tso,
    ) -> Result<()> {
        let channel = Channel::from(range.channel.as_str());
        let end = Position::from(range.end.unwrap_or_default());
        let anchor = range.anchor.map_or(end, Position::from).min(end);
        let is_requests = requests == Some(&channel);
        let kept = match self.queue.bounds(&channel).await {
            Err(error)
                if is_requests
                    && error.verdict == Verdict::Operator
                    && !self.queue.exists(&channel).await? =>
            {
                self.miss(format!(
                    "the replicate channel {channel} is gone, with what it held from {end} on"
                ));
                return Ok(());
            }
            kept => kept?,
        };
        let from = if kept.start <= anchor { anchor } else { end };
        let subscription = match self.queue.subscribe(&channel, from).await {
            Err(error) if is_requests && error.verdict == Verdict::Refused && end < kept.start => {
                self.miss(removed(&channel, end..kept.start));
                return Ok(());
            }
            subscribed => subscribed?,
        };
        let reading = Reading::resume(subscription, from, range);
        if is_requests {
            self.requests = Some(reading.above(opens_at));
        } else {
            self.readings.insert(channel, reading);
        }
        Ok(())
    }

    /// The channels that are read.
    pub fn names(&self) -> Vec<Channel> {
        self.readings.values().chain(&self.requests).map(|reading| reading.channel.clone()).collect()
    }

    /// Takes over what is needed: opens channels that are not read yet. True when there was one.
    pub async fn follow(&mut self, needs: BTreeMap<Channel, Need>) -> Result<bool> {
        let mut opened = false;
        for (channel, need) in &needs {
            if !self.readings.contains_key(channel) {
                check_origin(&*self.queue, channel, need.announced).await?;
                self.open(channel, need.from).await?;
                opened = true;
            }
        }
        self.needs = needs;
        Ok(opened)
    }

    /// Closes the channels that nothing needs any more.
    pub fn close_unneeded(&mut self) {
        self.readings.retain(|channel, _| self.needs.contains_key(channel));
    }

    /// Every message up to this TSO has been read on every channel that matters there. None without such a channel.
    pub fn frontier(&self) -> Option<Tso> {
        self.mattering().map(|reading| reading.tick).min()
    }

    /// The newest tick read.
    pub fn newest_tick(&self) -> Tso {
        self.readings.values().map(|reading| reading.tick).max().unwrap_or_default()
    }

    /// Pulls a message from the channel that is furthest behind; so no channel runs ahead of the others and memory
    /// stays bounded. Those that may be over are waited for side by side, and others go on meanwhile while there is room.
    /// Waits for ever where no channel matters. Cancel safe.
    pub async fn pull(&mut self, watermark: Tso) -> Result<()> {
        let room = self.held_bytes() < HELD_WHILE_WAITING;
        let needs = &self.needs;
        let mattering = self.readings.values_mut().filter(|reading| matters(needs, reading));
        let (mut ending, going): (Vec<_>, Vec<_>) = mattering.partition(|reading| reading.may_be_over());
        let next = going.into_iter().min_by_key(|reading| reading.tick);
        let late = ending.iter().position(|reading| reading.heard.elapsed() >= STRAGGLERS);
        let pulled = match (late, next) {
            (Some(late), _) => ending.swap_remove(late).ask_for_end(&self.queue).await,
            (None, Some(next)) if ending.is_empty() => next.pull(watermark).await,
            (None, None) if ending.is_empty() => return std::future::pending().await,
            (None, next) => {
                let goes_on = async {
                    match next.filter(|_| room) {
                        Some(next) => next.pull(watermark).await,
                        None => std::future::pending().await,
                    }
                };
                let wait = |reading| wait_for_stragglers(reading, watermark).boxed();
                tokio::select! {
                    (pulled, _, _) = select_all(ending.into_iter().map(wait)) => pulled,
                    pulled = goes_on => pulled,
                }
            }
        };
        if pulled.is_err() {
            // The queue was away, and may be slow.
            self.readings.values_mut().for_each(|reading| reading.heard = Instant::now());
        }
        pulled
    }

    /// Takes in what the replicate channel has ready. Where retention has overtaken it, it is read on from what is kept:
    /// unlike rows, what it tells of is seen elsewhere, but for flushes.
    pub async fn pull_requests(&mut self) -> Result<()> {
        let Some(requests) = &mut self.requests else { return Ok(()) };
        while self.requests_end.is_none() && requests.held() < REQUESTS_HELD {
            match requests.pull_request().now_or_never() {
                Some(Err(error)) if error.verdict == Verdict::Refused => self.requests_end = Some(error),
                Some(pulled) => pulled?,
                None => break,
            }
        }
        let Some(end) = self.requests_end.clone() else { return Ok(()) };
        let (channel, next) = (requests.channel.clone(), requests.next());
        let kept = self.queue.bounds(&channel).await?.start;
        if kept <= next {
            return Err(end);
        }
        requests.go_on(self.queue.subscribe(&channel, kept).await?, kept);
        self.requests_end = None;
        self.miss(removed(&channel, next..kept));
        Ok(())
    }

    /// What a person should know, once.
    pub fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    fn miss(&mut self, what: String) {
        self.without_requests = true;
        self.notes.push(format!(
            "{what}: flushes of that time may be missing from the log, and loads, releases and drops of indexes be dated \
             later than they were asked for"
        ));
    }

    /// The channel that is furthest behind, and the bytes that wait for its next tick or the watermark.
    pub fn furthest_behind(&self) -> Option<(&Channel, Tso, usize)> {
        let behind = self.mattering().min_by_key(|reading| reading.tick)?;
        Some((&behind.channel, behind.tick, behind.held_bytes()))
    }

    /// Bytes of messages that wait for the watermark.
    pub fn held_bytes(&self) -> usize {
        self.readings.values().map(Reading::held_bytes).sum()
    }

    /// Removes the row messages up to a watermark, by channel in the order of the queue.
    pub fn drain(&mut self, watermark: Tso) -> Vec<(Channel, Vec<Held>)> {
        self.readings
            .values_mut()
            .map(|reading| (reading.channel.clone(), reading.drain(watermark)))
            .collect()
    }

    /// Removes the requests up to a watermark.
    pub fn drain_requests(&mut self, watermark: Tso) -> Option<(Channel, Vec<Held>)> {
        let requests = self.requests.as_mut()?;
        Some((requests.channel.clone(), requests.drain_prefix(watermark)))
    }

    /// The ranges that the next commit covers.
    pub fn close_ranges(&mut self) -> Vec<pb::ChannelRange> {
        self.readings.values_mut().chain(&mut self.requests).map(Reading::close_range).collect()
    }

    /// The message that ended the reading because nobody can read it.
    pub fn take_malformed(&mut self) -> Option<(Channel, QueueMessage)> {
        let mut readings = self.readings.values_mut().chain(&mut self.requests);
        readings.find_map(|reading| Some((reading.channel.clone(), reading.take_malformed()?)))
    }

    fn mattering(&self) -> impl Iterator<Item = &Reading> {
        self.readings.values().filter(|reading| matters(&self.needs, reading))
    }
}

fn removed(channel: &Channel, Range { start, end }: Range<Position>) -> String {
    format!("retention has removed what the replicate channel {channel} held between {start} and {end}")
}

/// Pulls a message that is still on its way, but waits no longer than one can be.
async fn wait_for_stragglers(reading: &mut Reading, watermark: Tso) -> Result<()> {
    let until = reading.heard + STRAGGLERS;
    timeout_at(until, reading.pull(watermark)).await.unwrap_or(Ok(()))
}

fn matters(needs: &BTreeMap<Channel, Need>, reading: &Reading) -> bool {
    needs.get(&reading.channel).is_some_and(|need| reading.tick.max(reading.over) < need.until)
}
