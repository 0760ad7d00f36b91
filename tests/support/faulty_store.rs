//! A store that dies, loses answers, or does not keep its word, at a chosen call.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use futures::future::ready;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing; the calls are counted.
    None,
    /// The process dies before call k (from 1): it and all later calls fail without effect.
    StopBefore(u64),
    /// The process dies after call k: it has its effect but no answer, and all later calls fail without effect.
    StopAfter(u64),
    /// Call k has its effect, its answer is lost; the store goes on.
    LoseAnswer(u64),
    /// Call k fails without effect; the store goes on.
    FailOnce(u64),
    /// Put-if-absent overwrites.
    IgnoreCreate,
    /// A listing after a key lists what is before it, too.
    IgnoreOffset,
    /// A listing after a key lists nothing.
    NothingAfter,
}

/// A store with a fault. Each request is one call: a put, a read, a delete, a listing; of many deletes at once each is one.
/// All but listings give way to other tasks first, so that several users of one store really meet.
#[derive(Clone)]
pub struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    fault: Fault,
    calls: Arc<AtomicU64>,
    down: Arc<AtomicBool>,
}

/// Whether a call has its effect, and whether it is answered.
struct Outcome {
    effect: bool,
    answer: bool,
}

impl FaultyStore {
    /// Puts `fault` between the caller and `inner`.
    pub fn new(inner: Arc<dyn ObjectStore>, fault: Fault) -> FaultyStore {
        FaultyStore { inner, fault, calls: Arc::default(), down: Arc::default() }
    }

    /// A counter of the calls so far.
    pub fn calls(&self) -> Arc<AtomicU64> {
        self.calls.clone()
    }

    /// While it is set, every call fails without effect.
    pub fn down(&self) -> Arc<AtomicBool> {
        self.down.clone()
    }

    fn call(&self) -> Outcome {
        if self.down.load(Ordering::SeqCst) {
            return Outcome { effect: false, answer: false };
        }
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let (effect, answer) = match self.fault {
            Fault::None | Fault::IgnoreCreate | Fault::IgnoreOffset | Fault::NothingAfter => (true, true),
            Fault::StopBefore(k) => (call < k, call < k),
            Fault::StopAfter(k) => (call <= k, call < k),
            Fault::LoseAnswer(k) => (true, call != k),
            Fault::FailOnce(k) => (call != k, call != k),
        };
        Outcome { effect, answer }
    }
}

fn no_answer() -> Error {
    Error::Generic { store: "faulty", source: "no answer".into() }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        mut options: PutOptions,
    ) -> Result<PutResult> {
        tokio::task::yield_now().await;
        let Outcome { effect, answer } = self.call();
        if self.fault == Fault::IgnoreCreate {
            options.mode = PutMode::Overwrite;
        }
        let result =
            if effect { self.inner.put_opts(location, payload, options).await } else { Err(no_answer()) };
        if answer { result } else { Err(no_answer()) }
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        tokio::task::yield_now().await;
        match self.call() {
            Outcome { effect: true, answer: true } => self.inner.get_opts(location, options).await,
            _ => Err(no_answer()),
        }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        let delete = move |location: Result<Path>| {
            let this = this.clone();
            async move {
                tokio::task::yield_now().await;
                let location = location?;
                let Outcome { effect, answer } = this.call();
                let deleted = if effect { this.inner.delete(&location).await } else { Err(no_answer()) };
                if answer { deleted.map(|()| location) } else { Err(no_answer()) }
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.call() {
            Outcome { effect: true, answer: true } => self.inner.list(prefix),
            _ => futures::stream::once(async { Err(no_answer()) }).boxed(),
        }
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let offset = offset.clone();
        match self.fault {
            Fault::IgnoreOffset => self.list(prefix),
            Fault::NothingAfter => futures::stream::empty().boxed(),
            _ => self.list(prefix).try_filter(move |found| ready(found.location > offset)).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        match self.call() {
            Outcome { effect: true, answer: true } => self.inner.list_with_delimiter(prefix).await,
            _ => Err(no_answer()),
        }
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(not_used("put_multipart"))
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(not_used("copy"))
    }
}

/// A log needs no more than whole objects.
fn not_used(operation: &str) -> Error {
    Error::NotImplemented { operation: operation.into(), implementer: "FaultyStore".into() }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyStore({:?})", self.fault)
    }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
