//! What every queue promises, kept by each of them: the one in memory, and the one of the stand.

#[path = "../stand/mod.rs"]
mod stand;

mod memory;
mod promises;

/// One test for each promise, on the broker that `$broker` gives.
macro_rules! kept_by {
    ($broker:path: $($promise:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $promise() -> crate::stand::Outcome {
                match $broker().await? {
                    Some((_alone, broker)) => crate::promises::$promise(broker.as_ref()).await,
                    None => Ok(()),
                }
            }
        )*
    };
}

/// All of them.
macro_rules! all_kept_by {
    ($module:ident: $broker:path) => {
        mod $module {
            kept_by!(
                $broker: messages_come_in_their_order_each_once,
                reading_goes_on_at_any_position,
                a_wait_that_is_given_up_loses_nothing,
                what_is_delivered_twice_is_told_once,
                a_queue_that_went_away_and_came_back_has_lost_nothing,
                a_start_that_retention_removed_is_refused_with_the_hole_named,
                a_topic_that_was_created_anew_is_refused,
                a_position_beyond_the_end_is_refused,
                the_largest_message_passes,
                a_silent_topic_is_waited_for,
                asking_creates_nothing,
                a_time_gives_a_position_before_what_was_written_since,
            );
        }
    };
}

all_kept_by!(in_memory: crate::memory::broker);
all_kept_by!(on_the_stand: crate::on_stand);

type Found = Option<(tokio::sync::MutexGuard<'static, ()>, Box<dyn stand::broker::Broker>)>;

/// The queue of the stand for one test alone.
async fn on_stand() -> stand::Outcome<Found> {
    static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let alone = ALONE.lock().await;
    let Some(stand) = stand::Stand::find()? else { return Ok(None) };
    Ok(stand::broker::of(&stand)?.map(|broker| (alone, broker)))
}
