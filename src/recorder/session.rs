//! One run of the recorder: pulls and cuts until told to stop.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::log::writer::LogWriter;
use crate::message::Kind;
use crate::pb::log::{self as pb, definition::Change};
use crate::position::Seq;
use crate::progress::RecordProgress;
use crate::tick::Tso;
use crate::trouble::Trouble;

use super::base::Stored;
use super::channels::Channels;
use super::committer::{Committer, Draft};
use super::content::{Content, Turnover, concerns, requests};
use super::cut::Window;
use super::definitions::Definitions;
use super::{RESERVED_MS, Recorder};

/// Bytes of waiting messages at which a cut is tried at once.
const CUT_BYTES: usize = 8 << 20;
/// How often a cut is tried when every channel has ticked since the last try. Milvus ticks every 200 ms.
const CUT_AGE: Duration = Duration::from_millis(150);
/// How often a cut is tried otherwise.
const CUT_ANYWAY: Duration = Duration::from_millis(300);
/// The least time between two tries: each looks at etcd.
const CUT_GAP: Duration = Duration::from_millis(20);
/// So many times longer than a look at etcd took is the time to the next: it is slow where etcd holds a lot.
const LOOK_SHARE: u32 = 4;
/// But not longer than this: a look may also have been slow because etcd stood still.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// How often a cut without changes is committed, to move the watermark.
const IDLE_COMMIT: Duration = Duration::from_secs(5);
/// A source whose channels give nothing for so long is not at work: Milvus ticks every 200 ms.
const SILENCE: Duration = Duration::from_secs(10);
/// A channel with so many bytes behind its last tick is shown: memory has no other bound than its next tick.
const STANDING_BYTES: usize = 64 << 20;
/// How long a graceful stop may take.
const STOP: Duration = Duration::from_secs(3);

/// A recorder that is pulling and cutting.
pub struct Session {
    channels: Channels,
    definitions: Definitions,
    watermark: Tso,
    /// The watermark of the last cut that was handed on.
    drafted: Tso,
    opens_at: Tso,
    log_id: String,
    epoch: u64,
    seq: Seq,
    drafts: mpsc::Sender<Draft>,
    committer: AbortOnDropHandle<Result<()>>,
    progress: watch::Sender<RecordProgress>,
    last_draft: Instant,
    look_took: Duration,
    cancel: CancellationToken,
    /// A cut was begun that was not handed on: none may follow it.
    broken: bool,
    /// It has come to its end by an error: perhaps at a request, and no later one may be taken in.
    failed: bool,
}

impl Session {
    /// Continues at a watermark, with the reference of the catalog of the last commit. `at` is the watermark and the
    /// TSO at which the log opens.
    pub fn new(
        writer: LogWriter,
        catalog: Option<pb::ObjectRef>,
        channels: Channels,
        definitions: Definitions,
        at: (Tso, Tso),
        progress: &watch::Sender<RecordProgress>,
        cancel: CancellationToken,
    ) -> Session {
        let (drafts, received) = mpsc::channel(1);
        let (log_id, epoch, seq) = (writer.log_id().to_owned(), writer.epoch(), writer.next_seq());
        let committer = Committer::new(writer, catalog, progress.clone()).run(received);
        progress.send_modify(|progress| {
            progress.recorded_to = at.0;
            progress.opens_at = at.1;
        });
        Session {
            channels,
            definitions,
            watermark: at.0,
            drafted: at.0,
            opens_at: at.1,
            log_id,
            epoch,
            seq,
            drafts,
            committer: AbortOnDropHandle::new(tokio::spawn(committer)),
            progress: progress.clone(),
            last_draft: Instant::now(),
            look_took: Duration::ZERO,
            cancel,
            broken: false,
            failed: false,
        }
    }

    /// Hands on the first cut of a new log: what exists, and its base.
    pub async fn send_opening(&mut self, definitions: Vec<pb::Definition>, base: Stored) -> Result<()> {
        let mut content = self.content();
        content.definitions(&definitions);
        let catalog = self.definitions.recorded().clone();
        self.send_with(content, Some(catalog), base).await
    }

    /// Pulls and cuts until cancelled or until a person must act.
    pub async fn run(mut self, mut recorder: Recorder) -> Result<()> {
        let ended = match self.pull_and_cut(&mut recorder).await {
            Err(error) => {
                self.failed = true;
                Err(self.keep_malformed(&recorder, error).await)
            }
            ok => ok,
        };
        // What was read before is recorded, whatever comes after it.
        if !self.broken {
            let last_cut = tokio::time::timeout(STOP / 2, self.cut(&mut recorder, true)).await;
            tracing::debug!(?last_cut, "stopping");
        }
        // What the committer says is the reason where it is gone.
        self.finish().await.and(ended)
    }

    async fn pull_and_cut(&mut self, recorder: &mut Recorder) -> Result<()> {
        let mut pulling = Trouble::new(&self.progress, "reading the queue");
        let mut cutting = Trouble::new(&self.progress, "cutting");
        let mut silence = Trouble::new(&self.progress, "waiting for the source");
        let mut standing = Trouble::new(&self.progress, "waiting for a tick");
        let cancel = self.cancel.clone();
        let (mut last_try, mut tried_at) = (Instant::now(), None);
        let mut heard = Instant::now();
        loop {
            // What could be cut is cut before more is taken in: memory stays bounded while etcd is away.
            let full =
                self.channels.held_bytes() >= CUT_BYTES && self.channels.frontier() > Some(self.watermark);
            let pause = match full {
                true => CUT_GAP,
                false if self.channels.frontier() > tried_at => CUT_AGE.max(self.look_pause()),
                false => CUT_ANYWAY.max(self.look_pause()),
            };
            let due = last_try + pause;
            let (step, trouble, was_cut) = tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(()),
                () = self.drafts.closed() => return Err(Error::operator("the committer has stopped")),
                () = tokio::time::sleep_until(due) => {
                    tried_at = self.channels.frontier();
                    if full || tried_at.is_none() {
                        heard = Instant::now(); // nothing is pulled, or nothing has to come
                    } else if heard.elapsed() > SILENCE {
                        silence.tell_once(silent);
                    }
                    match self.stands() {
                        Some(error) => standing.tell_once(|| error),
                        None => standing.over(),
                    }
                    let tried = self.cut(recorder, false).await;
                    if tried.is_err() {
                        heard = Instant::now(); // nothing was pulled meanwhile
                    }
                    (tried, &mut cutting, true)
                }
                pulled = self.channels.pull(self.watermark), if !full => {
                    heard = Instant::now();
                    silence.over();
                    (pulled, &mut pulling, false)
                }
            };
            match step {
                Ok(()) => trouble.over(),
                Err(error) if error.is_retry() => tokio::select! {
                    waited = trouble.wait(error) => waited?,
                    () = cancel.cancelled() => return Ok(()),
                },
                Err(error) => return Err(error),
            }
            // After the wait: between two tries something is pulled.
            if was_cut {
                last_try = Instant::now();
            }
        }
    }

    /// What a channel waits for that gets messages and no tick. Those that have their tick are not read meanwhile.
    fn stands(&self) -> Option<Error> {
        let (channel, tick, bytes) = self.channels.furthest_behind()?;
        (tick <= self.watermark && bytes >= STANDING_BYTES).then(|| {
            let mib = bytes >> 20;
            let since = if tick == Tso::ZERO { "yet".into() } else { format!("since {}", tick.time()) };
            Error::retry(format!("channel {channel} has had no tick {since}: {mib} MiB of it wait in memory"))
                .advice("see whether the source's root coordinator is well: it gives ticks to every channel")
        })
    }

    fn look_pause(&self) -> Duration {
        self.look_took.saturating_mul(LOOK_SHARE).min(LOOK_PAUSE)
    }

    /// Looks at etcd and makes the cut that is possible, if there is one. An error leaves everything as it was.
    async fn cut(&mut self, recorder: &mut Recorder, last: bool) -> Result<()> {
        let ticked = self.channels.frontier();
        let began = Instant::now();
        let look = recorder.catalog.read().await?;
        self.look_took = began.elapsed();
        let given_out = Tso::from_millis(look.bound.millis().saturating_sub(RESERVED_MS));
        self.definitions.observe(look, self.watermark);
        if let Some(channel) = recorder.replicate_channel.as_ref().filter(|_| !self.failed) {
            self.channels.open_requests(channel, self.watermark, self.opens_at).await?;
            self.channels.pull_requests().await?;
        }
        self.tell();

        // Without a channel that matters there are no rows: definitions and time alone move the watermark.
        let to = ticked.unwrap_or_else(|| self.definitions.newest().max(given_out)).max(self.watermark);
        if self.channels.follow(self.definitions.needs(to)).await? {
            return Ok(());
        }
        let to = self.channels.frontier().map_or(to, |frontier| frontier.min(to));
        if to <= self.watermark {
            return self.send_watermark(last).await;
        }
        self.clarify(recorder, to).await?;
        self.cut_at(to, last).await
    }

    /// Tells how far the source was seen, what is selected and yet not recorded, and what else a person should know.
    fn tell(&mut self) {
        for note in self.channels.take_notes() {
            tracing::warn!("{note}");
            self.progress.send_modify(|progress| progress.note(note));
        }
        let left_out = self.definitions.left_out();
        self.progress.send_modify(|progress| {
            progress.seen_to = self.channels.newest_tick().max(progress.seen_to);
            if progress.left_out == left_out {
                return;
            }
            let told = progress.left_out.iter().collect::<BTreeSet<_>>();
            for name in left_out.iter().filter(|name| !told.contains(name)) {
                tracing::warn!(
                    "{name} came into the selection after it was created: its earlier rows are not in the log, \
                     and it is left out; record it into a new log"
                );
            }
            progress.left_out = left_out;
        });
    }

    /// Asks the source for properties that etcd shows only later.
    async fn clarify(&mut self, recorder: &Recorder, to: Tso) -> Result<()> {
        let Some(milvus) = &recorder.milvus else { return Ok(()) };
        for (id, name) in self.definitions.unclear(to) {
            if let Some(properties) = milvus.properties(id, &name).await? {
                self.definitions.clarify(id, to, &properties);
            }
        }
        Ok(())
    }

    async fn cut_at(&mut self, to: Tso, last: bool) -> Result<()> {
        self.broken = true;
        let window = Window { after: self.watermark, to };
        let mut content = self.content();
        let before = self.definitions.recorded();
        let known = |held| (concerns(before, &held), held);
        let drained = self.channels.drain(to).into_iter();
        let drained =
            drained.map(|(channel, held)| (channel, held.into_iter().map(known).collect::<Vec<_>>()));
        let drained = drained.collect::<Vec<_>>();
        let asked = self.channels.drain_requests(to);
        let asked_for = asked.as_ref().map_or(&[][..], |(_, held)| held);
        let definitions = self.definitions.cut(window, &requests(asked_for)?)?;

        content.definitions(&definitions);
        let turnover = Turnover::of(&definitions);
        for (channel, held) in drained {
            let kept = held.into_iter().filter(|(known, held)| turnover.keeps(*known, held));
            content.messages(&channel, kept.map(|(_, held)| held));
        }
        if let Some((channel, held)) = asked {
            content.messages(&channel, held.into_iter().filter(|held| held.header.kind != Kind::Request));
        }
        self.watermark = to;
        self.channels.close_unneeded();
        if content.is_empty() {
            self.broken = false;
            return self.send_watermark(last).await;
        }
        let redefined =
            definitions.iter().any(|definition| !matches!(definition.change, Some(Change::Flush(_))));
        let catalog = redefined.then(|| self.definitions.recorded().clone());
        self.send(content, catalog).await
    }

    /// Moves the log's watermark where nothing changed, if it is time.
    async fn send_watermark(&mut self, last: bool) -> Result<()> {
        if self.drafted < self.watermark && (last || self.last_draft.elapsed() >= IDLE_COMMIT) {
            self.broken = true;
            return self.send(self.content(), None).await;
        }
        Ok(())
    }

    fn content(&self) -> Content {
        Content::new(&self.log_id, self.epoch, self.seq.0, self.channels.names())
    }

    /// Hands a cut to the committer; waits while it has enough to do.
    async fn send(&mut self, content: Content, catalog: Option<Catalog>) -> Result<()> {
        self.send_with(content, catalog, Stored::default()).await
    }

    async fn send_with(&mut self, content: Content, catalog: Option<Catalog>, base: Stored) -> Result<()> {
        let commit = pb::Commit {
            segments: base.segments,
            channels: self.channels.close_ranges(),
            watermark: self.watermark.0,
            etcd_revision: self.definitions.revision(),
            opens_at: self.opens_at.0,
            ..Default::default()
        };
        let (segments, mut rows, unknown) = content.finish();
        rows.inserted += base.rows.inserted;
        let draft = Draft { seq: self.seq, segments, catalog, commit, rows, unknown };
        tokio::select! {
            biased;
            sent = self.drafts.send(draft) => {
                sent.map_err(|_| Error::operator("the committer has stopped"))?;
                self.seq = self.seq.next();
                self.drafted = self.watermark;
                self.last_draft = Instant::now();
            }
            () = self.cancel.cancelled() => return Ok(()),
        }
        self.broken = false;
        Ok(())
    }

    /// Waits until everything handed on is committed, but no longer than a stop may take.
    async fn finish(self) -> Result<()> {
        drop(self.drafts);
        let mut committer = self.committer;
        match tokio::time::timeout(STOP, &mut committer).await {
            Ok(Ok(ended)) => ended,
            Ok(Err(died)) => Err(Error::operator(format!("the committer died: {died}"))),
            Err(_) => {
                committer.abort();
                tracing::warn!("stopped before the last cuts were stored: the next start records them again");
                Ok(())
            }
        }
    }

    /// Stores a message that nobody can read beside the log, for a person to look at.
    async fn keep_malformed(&mut self, recorder: &Recorder, error: Error) -> Error {
        let Some((channel, message)) = self.channels.take_malformed() else { return error };
        let key = format!("malformed/{channel}-{}.bin", message.position);
        match recorder.store.put(&key, message.payload).await {
            Ok(()) => error.advice(format!(
                "the message is kept as {key} in the log's folder; report it with the version of the source"
            )),
            Err(failed) => error.advice(format!("the message could not be kept as {key}: {failed}")),
        }
    }
}

fn silent() -> Error {
    let seconds = SILENCE.as_secs();
    Error::retry(format!("no message has come for {seconds} s, not even a tick"))
        .advice("see whether the source's Milvus runs: its root coordinator gives ticks to every channel")
}
