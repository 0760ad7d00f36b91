//! Finding a commit by an instant: watermarks never fall.

use super::store::Store;
use super::{commit, layout};
use crate::error::Result;
use crate::position::Seq;
use crate::tick::Tso;

/// The first commit after `before` whose watermark is later than `instant`: the first one after `last` where there is
/// none. What cannot be read for damage counts as later, so that nothing later lies before the answer.
pub async fn first_after(store: &Store, before: Seq, last: Seq, instant: Tso) -> Result<Seq> {
    let (mut low, mut high) = (before.0, last.0.max(before.0).saturating_add(1));
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        let found = store.read(&layout::commit(Seq(middle))).await?;
        let sealed = found.and_then(Result::ok).and_then(|bytes| commit::open(Seq(middle), bytes).ok());
        let later = sealed.is_none_or(|sealed| sealed.commit.watermark > instant.0);
        *(if later { &mut high } else { &mut low }) = middle;
    }
    Ok(Seq(high))
}
