//! Readers that a broker moves ahead, as a message TTL does, topics in partitions, and what comes slowly.

use std::time::Duration;

use pulsar::proto::CommandPartitionedTopicMetadataResponse;
use tokio::time::{Instant, sleep, timeout};

use super::broker::Broker;
use super::*;

/// What a subscription gives until it has been silent for long, or fails for good; and what failed meanwhile.
async fn read(topic: &mut Box<dyn Subscription>) -> (Vec<EntryId>, Vec<Error>) {
    let (mut entries, mut errors) = (vec![], vec![]);
    while let Ok(next) = timeout(Duration::from_secs(100), topic.next()).await {
        match next {
            Ok(message) => entries.push(EntryId::of(message.position)),
            Err(error) => {
                let passes = error.is_retry() && errors.len() < 20;
                errors.push(error);
                if !passes {
                    break;
                }
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    (entries, errors)
}

fn ids(ledger: u64, entries: Range<i64>) -> Vec<EntryId> {
    entries.map(|entry| id(ledger, entry)).collect()
}

async fn subscribe(broker: &Broker, from: EntryId) -> Box<dyn Subscription> {
    broker.queue().subscribe(&"dml_0".into(), from.message(0)).await.unwrap()
}

/// Nothing but what passes, with what to do about it.
fn told(errors: &[Error]) {
    assert!(errors.iter().all(Error::is_retry) && !errors.is_empty(), "{errors:?}");
    let advice = errors.iter().flat_map(|error| &error.advice).any(|advice| advice.contains("message TTL"));
    assert!(advice, "{errors:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_message_ttl_moves_a_reader_past_is_read_all_the_same() {
    // before the first entry, behind some, and where the reader was at the end
    for (seen, at_end) in [(0, false), (3, false), (3, true)] {
        let broker = Broker::of("dml_0").await;
        broker.change(|state| state.held_back = Some(id(17, seen)));
        broker.write(17, 0..if at_end { seen } else { 10 }, 3);
        let mut topic = subscribe(&broker, id(17, 0)).await;
        let mut entries = vec![];
        for _ in 0..seen {
            entries.push(EntryId::of(topic.next().await.unwrap().position));
        }
        if at_end {
            assert!(timeout(Duration::from_secs(10), topic.next()).await.is_err());
            broker.write(17, seen..10, 3);
        }
        broker.expire(id(17, 8));
        broker.change(|state| state.held_back = None);
        let (rest, errors) = read(&mut topic).await;
        entries.extend(rest);
        assert_eq!(entries, ids(17, 0..10), "{seen} seen, at the end: {at_end}: {errors:?}");
        told(&errors);
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_of_an_empty_topic_that_is_moved_to_a_later_ledger_goes_back() {
    let broker = Broker::of("dml_0").await;
    let mut topic = subscribe(&broker, id(0, -1)).await;
    assert!(timeout(Duration::from_secs(10), topic.next()).await.is_err());
    broker.change(|state| state.held_back = Some(id(17, 0)));
    broker.write(17, 0..2, 3);
    broker.write(23, 0..2, 3);
    broker.expire(id(23, 0));
    broker.change(|state| state.held_back = None);
    let (entries, errors) = read(&mut topic).await;
    assert_eq!(entries, [ids(17, 0..2), ids(23, 0..2)].concat(), "{errors:?}");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_is_moved_ahead_again_and_again_gets_on_for_all_to_see_and_is_no_busy_loop() {
    let broker = Broker::of("dml_0").await;
    broker.write(17, 0..20, 3);
    broker.write(23, 0..4, 3);
    broker.change(|state| state.moved_after = Some(7));
    let began = Instant::now();
    let mut topic = subscribe(&broker, id(17, 0)).await;
    let (entries, errors) = read(&mut topic).await;
    assert_eq!(entries, [ids(17, 0..20), ids(23, 0..4)].concat(), "{errors:?}");
    told(&errors);
    assert!(
        errors.len() == 3 && began.elapsed() > Duration::from_secs(103),
        "{errors:?}, {:?}",
        began.elapsed()
    );
    // without any progress every try is told
    broker.change(|state| state.moved_after = Some(1));
    let mut topic = subscribe(&broker, id(17, 0)).await;
    let (entries, errors) = read(&mut topic).await;
    assert_eq!((entries, errors.len()), (ids(17, 0..1), 21));
    told(&errors);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_longer_kept_is_a_hole_but_for_a_reader_at_the_end() {
    for at_end in [false, true] {
        let broker = Broker::of("dml_0").await;
        broker.write(17, 0..3, 3);
        let mut topic = subscribe(&broker, id(17, 0)).await;
        for _ in 0..3 {
            topic.next().await.unwrap();
        }
        if at_end {
            assert!(timeout(Duration::from_secs(10), topic.next()).await.is_err());
        } else {
            broker.change(|state| state.held_back = Some(id(17, 3)));
            broker.write(17, 3..6, 3);
        }
        broker.trim(id(23, 0));
        broker.write(23, 0..2, 3);
        broker.change(|state| state.held_back = None);
        let (entries, errors) = read(&mut topic).await;
        match at_end {
            true => assert_eq!((entries, errors.len()), (ids(23, 0..2), 0), "{errors:?}"),
            false => {
                let error = errors.last().unwrap();
                assert!(entries.is_empty() && error.verdict == Verdict::Refused, "{entries:?} {errors:?}");
                assert!(error.message.contains("hole [17:2:1, 23:0:0)"), "{error}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_topic_whose_partitions_cannot_be_told_is_not_taken_for_one_without() {
    use pulsar::proto::ServerError;
    use pulsar::proto::command_partitioned_topic_metadata_response::LookupType::{Failed, Success};
    let broker = Broker::of("dml_0-partition-0").await;
    broker.write(17, 0..1, 3);
    let answer = |response, partitions, error: Option<ServerError>| {
        broker.change(|state| {
            state.partitions = CommandPartitionedTopicMetadataResponse {
                response,
                partitions,
                error: error.map(i32::from),
                message: error.map(|_| "not now".to_owned()),
                ..Default::default()
            };
        });
    };
    let open = async || {
        let opened = broker.queue().subscribe(&"dml_0".into(), id(17, 0).message(0)).await;
        opened.err().map(|error| error.verdict)
    };
    let (failed, success) = (Some(i32::from(Failed)), Some(i32::from(Success)));
    for partitions in [0, 1] {
        answer(success, Some(partitions), None);
        assert_eq!(open().await, None);
    }
    answer(failed, None, Some(ServerError::TopicNotFound));
    assert_eq!(open().await, None, "no topic of that name has partitions");
    answer(success, Some(2), None);
    assert_eq!(open().await, Some(Verdict::Operator));
    for response in [failed, None] {
        answer(response, None, Some(ServerError::ServiceNotReady));
        assert_eq!(open().await, Some(Verdict::Retry));
        answer(response, None, Some(ServerError::AuthorizationError));
        assert_eq!(open().await, Some(Verdict::Operator));
    }
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_takes_long_to_arrive_is_waited_for() {
    let broker = Broker::of("dml_0").await;
    broker.write(17, 0..1, 20 << 10);
    broker.write(23, 0..1, 20 << 10);
    broker.change(|state| state.slow = true);
    let began = Instant::now();
    let mut topic = subscribe(&broker, id(17, 0)).await;
    for ledger in [17, 23] {
        let next = timeout(Duration::from_secs(200), topic.next()).await.expect("an entry").unwrap();
        assert_eq!(EntryId::of(next.position), id(ledger, 0));
    }
    assert!(began.elapsed() > Duration::from_secs(40));
}
