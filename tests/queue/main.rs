//! What every queue promises, kept by each of them: the one in memory, a RocksMQ, and the queue of the stand.

#[path = "../stand/mod.rs"]
mod stand;

mod memory;
mod promises;
mod pulsar;
#[cfg(feature = "rocksmq")]
mod rocksmq;

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

/// Those that all keep, and what only some queues can show.
macro_rules! all_kept_by {
    ($module:ident: $broker:path $(, $more:ident)*) => {
        mod $module {
            kept_by!(
                $broker: messages_come_in_their_order_each_once,
                reading_goes_on_at_any_position,
                a_wait_that_is_given_up_loses_nothing,
                what_is_delivered_twice_is_told_once,
                a_start_that_retention_removed_is_refused_with_the_hole_named,
                a_topic_that_was_created_anew_is_refused,
                an_open_topic_that_was_created_anew_and_outgrew_the_old_one_is_refused,
                a_position_beyond_the_end_is_refused,
                the_largest_message_passes,
                a_silent_topic_is_waited_for,
                asking_creates_nothing,
                $($more),*
            );
        }
    };
}

all_kept_by!(in_memory: crate::memory::broker,
    a_queue_that_went_away_and_came_back_has_lost_nothing,
    a_time_gives_a_position_before_what_was_written_since);
all_kept_by!(on_the_stand: crate::on_stand,
    a_queue_that_went_away_and_came_back_has_lost_nothing,
    a_time_gives_a_position_before_what_was_written_since);
// files do not go away, and only messages of Milvus have a date there
#[cfg(feature = "rocksmq")]
all_kept_by!(in_a_rocksmq: crate::rocksmq::broker);

/// Some tests stop the queue.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A broker for one test alone, or none: then the test is skipped, visibly.
type Found = Option<(tokio::sync::MutexGuard<'static, ()>, Box<dyn stand::broker::Broker>)>;

/// The queue of the stand for one test alone.
async fn on_stand() -> stand::Outcome<Found> {
    let alone = ALONE.lock().await;
    let Some(stand) = stand::Stand::find()? else { return Ok(None) };
    Ok(stand::broker::of(&stand)?.map(|broker| (alone, broker)))
}
