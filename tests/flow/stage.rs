//! Recorders and replayers at work, on a clock that jumps to the next moment at which somebody waits for it.

use std::future::Future;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use tapedeck::archive::archiver;
use tapedeck::archive::base::{self, take};
use tapedeck::change::{CollectionName, NewCollection};
use tapedeck::error::{Error, Result};
use tapedeck::log::prune::{self, Keep, prune};
use tapedeck::log::reader::LogReader;
use tapedeck::log::store::Store;
use tapedeck::log::verify::{Scope, verify};
use tapedeck::position::Seq;
use tapedeck::progress::{RecordProgress, ReplayProgress};
use tapedeck::recorder::{Recorder, Start};
use tapedeck::replayer::{Replayer, Skip, Until};
use tapedeck::selection::{Renames, Selection};
use tapedeck::source::memory::MemorySource;
use tapedeck::target::Target;
use tapedeck::target::memory::{Contents, MemoryTarget};
use tapedeck::tick::Tso;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::world::World;

/// Longer than anything takes: by the clock that jumps.
const PATIENCE: Duration = Duration::from_secs(900);

/// So small that a base has several segments, and is made in several passes.
const SMALL: base::Limits = base::Limits {
    archive: archiver::Limits { held_bytes: 48 << 10, group_bytes: 4 << 10 },
    closed_bytes: 0,
    segment_bytes: 2 << 10,
};

/// Runs one process: when it ends, everything in it is gone, as after a kill.
pub fn process<F: Future>(work: F) -> F::Output {
    runtime().block_on(work)
}

/// A process that sleeps while it is not given anything to do.
pub fn runtime() -> tokio::runtime::Runtime {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().start_paused(true).build().expect("a runtime")
}

/// The seed of a test: pinned by `TAPEDECK_SEED`, shown when the test fails.
pub fn seed() -> u64 {
    let seed =
        std::env::var("TAPEDECK_SEED").ok().map_or_else(rand::random, |seed| seed.parse().expect("a number"));
    println!("TAPEDECK_SEED={seed}");
    seed
}

/// Something that runs until it is stopped.
pub struct Running<P> {
    pub progress: watch::Receiver<P>,
    cancel: CancellationToken,
    task: JoinHandle<Result<()>>,
}

impl<P: std::fmt::Debug> Running<P> {
    fn start<F>(progress: P, run: impl FnOnce(watch::Sender<P>, CancellationToken) -> F) -> Running<P>
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let (sender, progress) = watch::channel(progress);
        let cancel = CancellationToken::new();
        let task = tokio::spawn(run(sender, cancel.clone()));
        Running { progress, cancel, task }
    }

    /// Waits until its progress shows something.
    pub async fn until(&mut self, what: &str, mut reached: impl FnMut(&P) -> bool) {
        let waited = self.progress.wait_for(|progress| reached(progress));
        if matches!(tokio::time::timeout(PATIENCE, waited).await, Ok(Ok(_))) {
            return;
        }
        let progress = format!("{:?}", *self.progress.borrow());
        match self.task.is_finished() {
            true => panic!("{what} was never reached: {:?}, {progress}", (&mut self.task).await),
            false => panic!("{what} was never reached: {progress}"),
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits for its end, whatever that is. Cancel safe.
    pub async fn ended(&mut self) {
        let mut looks = tokio::time::interval(Duration::from_millis(10));
        while !self.has_ended() {
            looks.tick().await;
        }
    }

    /// Stops it and waits for its end.
    pub async fn stop(self) -> Result<()> {
        self.cancel.cancel();
        self.end().await
    }

    /// Waits for its end.
    pub async fn end(self) -> Result<()> {
        tokio::time::timeout(PATIENCE, self.task).await.expect("an end").expect("no panic")
    }

    /// The error that it ends with.
    pub async fn error(self) -> Error {
        self.end().await.expect_err("an error")
    }
}

/// A recorder of a source, as a process that starts has it.
pub fn recorder(source: &MemorySource, store: &Store, start: Start) -> Recorder {
    Recorder {
        queue: Arc::new(source.queue.clone()),
        catalog: Box::new(source.catalog.reader()),
        milvus: None,
        replicate_channel: Some(source.replicate_channel()),
        store: store.clone(),
        storage: None,
        start,
        selection: Selection::default(),
    }
}

/// Starts to record.
pub fn record(recorder: Recorder) -> Running<RecordProgress> {
    Running::start(RecordProgress::default(), |progress, cancel| async move {
        recorder.run(&progress, cancel).await
    })
}

/// A replayer.
pub fn replayer(store: &Store, target: Arc<dyn Target>, reader: &str, until: Until) -> Replayer {
    Replayer {
        store: store.clone(),
        target,
        reader: reader.into(),
        until,
        selection: Selection::default(),
        renames: Renames::default(),
        skip: Skip::default(),
        unchecked: false,
    }
}

/// Starts to replay.
pub fn replay(replayer: Replayer) -> Running<ReplayProgress> {
    Running::start(ReplayProgress::default(), |progress, cancel| async move {
        replayer.run(&progress, cancel).await
    })
}

impl Running<RecordProgress> {
    /// Waits until everything up to a TSO is in the log.
    pub async fn reach(&mut self, tso: Tso) {
        self.until(&format!("recorded to {tso}"), |progress| progress.recorded_to >= tso).await;
    }
}

impl Running<ReplayProgress> {
    /// Waits until everything up to a TSO is in the target.
    pub async fn reach(&mut self, tso: Tso) {
        self.until(&format!("applied to {tso}"), |progress| progress.applied_to >= tso).await;
    }
}

/// A tick behind everything that was done, on at least one channel.
pub fn settle(world: &mut World) -> Tso {
    if world.tables.is_empty() {
        world.create(tapedeck::source::memory::CollectionSpec::new("last"));
    }
    world.source.tick()
}

/// Starts to record and waits until the log is open.
pub async fn open(world: &World, store: &Store, start: Start) -> Running<RecordProgress> {
    let mut recording = record(recorder(&world.source, store, start));
    recording.until("an opened log", |progress| progress.opens_at > Tso::ZERO).await;
    recording
}

/// Records all that a source holds and stops.
pub async fn record_all(world: &mut World, store: &Store) {
    let recording = open(world, store, Start::Earliest).await;
    finish(world, recording).await;
}

/// Waits until everything that was done is recorded, and stops.
pub async fn finish(world: &mut World, mut recording: Running<RecordProgress>) {
    let to = settle(world);
    recording.reach(to).await;
    recording.stop().await.expect("a clean stop");
}

/// What a fresh target holds after the whole log, or the log up to an instant.
pub async fn replayed(store: &Store, until: Until) -> Contents {
    let target = Arc::new(MemoryTarget::new());
    replay(replayer(store, target.clone(), "fresh", until)).end().await.expect("a replay to its end");
    forget(store, "fresh").await;
    target.contents()
}

/// Removes the positions of a replayer.
pub async fn forget(store: &Store, reader: &str) {
    for (key, _) in store.list(&format!("readers/{reader}"), None).await.expect("a listing") {
        store.delete(&key).await.expect("a delete");
    }
}

/// Fails where the log is not as it should be.
pub async fn assert_clean(store: &Store) {
    let report = verify(store.clone(), Scope::Whole, |_, _| ready(())).await.expect("a store that answers");
    assert_eq!(report.damages, [], "damages");
}

/// Takes a base: the last one up to an instant.
pub async fn base(store: &Store, at: Option<Tso>) -> base::Report {
    take(store.clone(), at, SMALL, |_| {}).await.expect("a base")
}

/// Prunes all that can go without the base of this commit, or a newer one.
pub async fn prune_below(store: &Store, commit: u64) -> prune::Report {
    let reader = LogReader::open(store.clone()).await.expect("a log");
    let bases = reader.bases().await.expect("bases").into_iter().filter(|base| *base >= Seq(commit)).count();
    prune(store.clone(), Keep { window: Duration::ZERO, bases }, false, |_| {}).await.expect("a prune")
}

/// A collection without fields, for a target in memory.
pub fn new_collection(name: &CollectionName) -> NewCollection {
    NewCollection {
        name: name.clone(),
        schema: Default::default(),
        shards: 1,
        consistency_level: 0,
        properties: vec![],
        partitions: vec![],
    }
}
