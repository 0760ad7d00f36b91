//! How a run begins: a new log with what exists, or the last commit's positions and catalog.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::catalog::Catalog;
use crate::error::{Context, Error, Result};
use crate::log::identity::Identity;
use crate::log::writer::{LogWriter, Tail};
use crate::message::{self, Header, Kind};
use crate::pb::log as pb;
use crate::position::{Channel, Position};
use crate::progress::RecordProgress;
use crate::source::segments::SegmentList;
use crate::source::{Observation, Queue, Storage};
use crate::tick::Tso;
use crate::trouble::Trouble;

use super::base::{self, Stored};
use super::channels::Channels;
use super::definitions::{Definitions, Need};
use super::origin::check_origin;
use super::session::Session;
use super::{CLOCK_SLACK_MS, RESERVED_MS, Recorder, Start};

/// How long the first tick of a channel may take.
const FIRST_TICK: Duration = Duration::from_secs(5);

/// The source reserves time every few seconds.
const CLOCK_MOVES: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(300);

/// Opens the log and the source. May be tried again after an error; `newest` is the newest definition that any look has
/// shown.
pub async fn open(
    recorder: &mut Recorder,
    newest: &mut Tso,
    progress: &watch::Sender<RecordProgress>,
    cancel: &CancellationToken,
) -> Result<Session> {
    let source = pb::SourceIdentity {
        queue: recorder.queue.identity().await?,
        etcd: recorder.catalog.identity().await?,
    };
    recorder.store.probe().await?;
    // Before anything is written: where a log cannot begin, none is left behind.
    let look = match Identity::load(&recorder.store).await? {
        None => Some(first_look(recorder, newest).await?),
        Some(_) => None,
    };
    let (writer, tail) = LogWriter::open(recorder.store.clone(), &source).await?;
    match tail {
        Some(tail) => resume(recorder, writer, tail, progress, cancel).await,
        None => {
            let look = match look {
                Some(look) => look,
                None => first_look(recorder, newest).await?,
            };
            begin(recorder, writer, (look, newest), progress, cancel).await
        }
    }
}

/// What a new log begins with; refused where it cannot begin.
async fn first_look(recorder: &mut Recorder, newest: &mut Tso) -> Result<FirstLook> {
    let look = recorder.catalog.read().await?;
    *newest = newest_definition(&look).max(*newest);
    if let Some(channel) = &recorder.replicate_channel {
        check_replicate_channel(recorder.queue.as_ref(), channel, &look.live).await?;
    }
    let now = Tso::from_millis(look.bound.millis().saturating_sub(RESERVED_MS));
    let opens_at = now.max(*newest);
    match recorder.start {
        // A client may have it already; soon the source is certainly beyond it.
        Start::After(tso) if (opens_at..look.bound).contains(&tso) => Err(Error::retry(format!(
            "the start {tso} ({}) was given out by the source a moment ago",
            tso.time()
        ))
        .advice("nothing, if the source runs: in a few seconds it is beyond it; else start it, or begin with \"now\"")),
        Start::After(tso) if tso >= opens_at => Err(Error::usage(format!(
            "the start {tso} ({}) lies in the future: the source is at {}",
            tso.time(),
            opens_at.time()
        ))
        .advice("start at a TSO that the source has given out already, or with \"now\"")),
        _ => Ok(FirstLook { look, now, opens_at }),
    }
}

/// The source as it is when a log begins.
struct FirstLook {
    look: Observation,
    /// The source has given out every TSO up to this.
    now: Tso,
    opens_at: Tso,
}

/// Milvus creates its replicate channel with the first request. Until then the channels of collections show whether the
/// name can be right: all have one prefix.
pub async fn check_replicate_channel(queue: &dyn Queue, channel: &Channel, live: &Catalog) -> Result<()> {
    if queue.exists(channel).await? {
        return Ok(());
    }
    let mut shards = live.collections.values().flat_map(|collection| &collection.channels).peekable();
    if let Some(prefix) = channel.as_str().strip_suffix("replicate-msg")
        && (shards.peek().is_none() || shards.any(|shard| shard.channel.starts_with(prefix)))
    {
        return Ok(());
    }
    Err(Error::operator(format!("the replicate channel {channel} does not exist")).advice(
        "its name is the source's `common.chanNamePrefix.cluster` with -replicate-msg (by-dev-replicate-msg); \
         without source.replicate_channel flushes are not seen",
    ))
}

/// A new log: its first commit holds what exists, and the base where there is one; the rows follow in the order of their
/// TSO.
async fn begin(
    recorder: &mut Recorder,
    writer: LogWriter,
    look: (FirstLook, &mut Tso),
    progress: &watch::Sender<RecordProgress>,
    cancel: &CancellationToken,
) -> Result<Session> {
    let (FirstLook { look, now, opens_at }, stored) = with_base(recorder, &writer, look, progress).await?;
    let (definitions, opening) = Definitions::open(&look, opens_at, recorder.selection.clone())?;
    let watermark = match recorder.start {
        Start::Earliest if !stored.segments.is_empty() => Tso::BASE,
        // Nothing is older than what will be created.
        Start::Earliest if definitions.recorded().collections.is_empty() => now,
        Start::Earliest => Tso::ZERO,
        Start::Now => now,
        Start::After(tso) => tso,
    };
    let definitions = definitions.asking_for_properties(recorder.milvus.is_some());
    let mut trouble = Trouble::new(progress, "opening the channels");
    let channels = match stored.segments.is_empty() {
        true => open_channels(recorder, &definitions, watermark, opens_at).await?,
        // Without taking the base again.
        false => trouble.until_done(|| open_channels(recorder, &definitions, watermark, opens_at)).await?,
    };
    let mut session =
        Session::new(writer, None, channels, definitions, (watermark, opens_at), progress, cancel.clone());
    session.send_opening(opening, stored).await?;
    Ok(session)
}

/// The channels of a new log, where its first rows stand.
async fn open_channels(
    recorder: &Recorder,
    definitions: &Definitions,
    watermark: Tso,
    opens_at: Tso,
) -> Result<Channels> {
    let mut channels = Channels::new(recorder.queue.clone());
    for (channel, need) in definitions.needs(watermark) {
        check_origin(&*recorder.queue, &channel, need.announced).await?;
        let from = first_position(recorder, &channel, need, watermark)
            .await
            .context(|| format!("collections {}", names_on(definitions.recorded(), &channel)))?;
        channels.open(&channel, from).await?;
    }
    if let Some(channel) = &recorder.replicate_channel {
        channels.open_requests(channel, opens_at, opens_at).await?;
    }
    Ok(channels)
}

/// Takes a base where the log is to begin with rows that the queue no longer holds.
async fn with_base(
    recorder: &mut Recorder,
    writer: &LogWriter,
    (mut first, newest): (FirstLook, &mut Tso),
    progress: &watch::Sender<RecordProgress>,
) -> Result<(FirstLook, Stored)> {
    let Some(storage) = recorder.storage.as_ref().filter(|_| recorder.start == Start::Earliest) else {
        return Ok((first, Stored::default()));
    };
    let (selected, _) = Definitions::open(&first.look, first.opens_at, recorder.selection.clone())?;
    let without = base::without_beginning(recorder.queue.as_ref(), selected.recorded()).await?;
    if without.is_empty() {
        return Ok((first, Stored::default()));
    }
    let of = (selected.recorded(), &without);
    let list = base::list(storage, recorder.catalog.as_mut(), of, first.now).await?;
    tell_imports(selected.recorded(), &list, progress);
    let before = Arc::make_mut(&mut first.look.live);
    base::with_checkpoints(before, &without, &list)?;
    let copied = (&*before, &without);
    let stored = base::copy(storage, recorder.catalog.as_mut(), copied, &list, writer, progress).await?;

    let before = first.look.live;
    let mut trouble = Trouble::new(progress, "looking at the source after its base was copied");
    let mut then = loop {
        match look_after_now(recorder, newest).await {
            Ok(then) => break then,
            Err(error) => trouble.wait(error).await?,
        }
    };
    trouble.over();
    for id in &without {
        if !base::is_as_before(before.collections.get(id), then.look.live.collections.get(id)) {
            return Err(Error::retry(format!("collection {id} was changed while its base was taken"))
                .advice("nothing: it is taken again"));
        }
    }
    base::with_checkpoints(Arc::make_mut(&mut then.look.live), &without, &list)?;
    Ok((then, stored))
}

/// Rows of an import that is under way are in no base, and the queue has no word of them.
fn tell_imports(selected: &Catalog, list: &SegmentList, progress: &watch::Sender<RecordProgress>) {
    let names = list.importing().into_iter().filter_map(|id| selected.name(id)).map(|name| name.to_string());
    let names = names.collect::<Vec<_>>();
    for name in &names {
        tracing::warn!(
            "a bulk import into {name} is under way while its base is taken: its rows will not be in the log; record \
             into a new log when it is finished"
        );
    }
    progress.send_modify(|progress| progress.importing = names);
}

/// A look that opens a log above all that the source has given out by now, and so above whatever it has stored.
async fn look_after_now(recorder: &mut Recorder, newest: &mut Tso) -> Result<FirstLook> {
    let look = recorder.catalog.read().await?;
    let given_out = look.bound;
    *newest = newest_definition(&look).max(*newest);
    let deadline = Instant::now() + CLOCK_MOVES;
    loop {
        let then = first_look(recorder, newest).await?;
        if then.opens_at >= given_out {
            return Ok(then);
        }
        if Instant::now() >= deadline {
            return Err(Error::retry("the source gives out no time")
                .advice("see whether its Milvus runs: its root coordinator reserves the time in etcd"));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// The newest date that a look shows: from there on its definitions are those of the source.
fn newest_definition(look: &Observation) -> Tso {
    let collections = look.live.collections.values();
    let indexes = collections.flat_map(|collection| &collection.indexes).map(|index| Tso(index.create_tso));
    look.events.iter().map(|event| event.tso).chain(indexes).max().unwrap_or_default()
}

/// Where a channel has to be read from so that no row above the watermark is missed.
async fn first_position(
    recorder: &Recorder,
    channel: &Channel,
    need: Need,
    watermark: Tso,
) -> Result<Position> {
    let kept = recorder.queue.bounds(channel).await?;
    let from = match recorder.start {
        Start::Earliest => need.from,
        Start::Now | Start::After(_) => {
            let (queue, before) = (&*recorder.queue, watermark.millis().saturating_sub(CLOCK_SLACK_MS / 2));
            let mut slack = CLOCK_SLACK_MS;
            loop {
                let millis = watermark.millis().saturating_sub(slack);
                let from = queue.position_at(channel, millis).await?.max(need.from);
                // The first message that is kept may not be the first that was written since then.
                if from == kept.start || from == need.from {
                    break need.from;
                }
                if from < kept.end && first_tick(queue, channel, from).await?.millis() <= before {
                    break from;
                }
                // The queue's clock is behind.
                slack = slack.saturating_mul(2);
            }
        }
    };
    if from < kept.start {
        return Err(Error::refused(format!(
            "channel {channel} no longer holds positions {from} to {}, where their rows begin",
            kept.start
        ))
        .advice(match &recorder.storage {
            None => {
                "give source.storage, where the source keeps its segments, or source.backup: then a base is taken; or start \
                 with \"now\", or select collections that the queue still holds"
            }
            Some(Storage::Backup(_)) => {
                "give a newer backup, whose checkpoints the queue still holds, or source.storage instead of it; or start \
                 with \"now\", or select collections that the queue still holds"
            }
            Some(Storage::Source(_)) => {
                "flush the collections at the source: that moves their checkpoints, where a base ends, to what the queue \
                 holds; or start with \"now\", or select collections that the queue still holds"
            }
        }));
    }
    Ok(from)
}

/// The first tick from a position on; the lowest where none comes.
async fn first_tick(queue: &dyn Queue, channel: &Channel, from: Position) -> Result<Tso> {
    let mut subscription = queue.subscribe(channel, from).await?;
    let deadline = Instant::now() + FIRST_TICK;
    while let Ok(next) = tokio::time::timeout_at(deadline, subscription.next()).await {
        if let Ok(Header { kind: Kind::Tick, tso, .. }) = message::header(&next?.payload) {
            return Ok(tso);
        }
    }
    Ok(Tso::ZERO)
}

fn names_on(catalog: &Catalog, channel: &Channel) -> String {
    let on_channel = catalog
        .collections
        .values()
        .filter(|collection| collection.channels.iter().any(|shard| shard.channel == channel.as_str()));
    let names = on_channel.filter_map(|collection| catalog.name(collection.id)).map(|name| name.to_string());
    names.collect::<Vec<_>>().join(", ")
}

/// Continues after the last commit.
async fn resume(
    recorder: &mut Recorder,
    writer: LogWriter,
    tail: Tail,
    progress: &watch::Sender<RecordProgress>,
    cancel: &CancellationToken,
) -> Result<Session> {
    let Tail { commit, catalog } = tail;
    let (watermark, opens_at) = (Tso(commit.watermark), Tso(commit.opens_at));
    let definitions =
        Definitions::resume(catalog, commit.etcd_revision, opens_at, recorder.selection.clone())
            .asking_for_properties(recorder.milvus.is_some());
    let mut channels = Channels::new(recorder.queue.clone());
    let needs = definitions.needs(watermark);
    for range in commit.channels {
        let requests = recorder.replicate_channel.as_ref();
        let channel = Channel::from(range.channel.as_str());
        if requests == Some(&channel) || needs.contains_key(&channel) {
            channels.resume(range, requests, opens_at).await?;
        }
    }
    if let Some(channel) = &recorder.replicate_channel {
        channels.open_requests(channel, watermark, opens_at).await?;
    }
    Ok(Session::new(
        writer,
        commit.catalog,
        channels,
        definitions,
        (watermark, opens_at),
        progress,
        cancel.clone(),
    ))
}
