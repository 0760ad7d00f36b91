//! The promises of `Queue` and `Subscription`, as seen by a reader.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::FutureExt;
use rand::RngExt;
use tapedeck::error::{Error, Verdict};
use tapedeck::position::{Channel, Position};
use tapedeck::source::{QueueMessage, Subscription};
use tokio::time::{sleep, timeout};

use crate::stand::broker::Broker;
use crate::stand::patience::PATIENCE;
use crate::stand::{Outcome, RUN, ensure, fail, rng};

type Reading = Box<dyn Subscription>;

pub fn topic(name: &str) -> Channel {
    format!("promise-{}-{name}", *RUN).as_str().into()
}

pub fn texts(numbers: std::ops::Range<usize>) -> Vec<Vec<u8>> {
    numbers.map(|number| format!("message {number}").into_bytes()).collect()
}

/// Reads so many messages; what may pass by itself may pass.
pub async fn take(reading: &mut Reading, count: usize) -> Outcome<Vec<QueueMessage>> {
    let mut messages = Vec::new();
    let until = Instant::now() + PATIENCE;
    while messages.len() < count {
        match timeout(PATIENCE, reading.next()).await {
            Ok(Ok(message)) => messages.push(message),
            Ok(Err(error)) if error.is_retry() && Instant::now() < until => {
                sleep(Duration::from_millis(100)).await;
            }
            Ok(Err(error)) => return fail(format!("after {} messages: {error}", messages.len())),
            Err(_) => return fail(format!("only {} messages", messages.len())),
        }
    }
    Ok(messages)
}

/// Asks until what may pass by itself has passed.
async fn patiently<T>(ask: impl AsyncFn() -> Result<T, Error>) -> Result<T, Error> {
    let until = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Err(error) if error.is_retry() && Instant::now() < until => {
                sleep(Duration::from_millis(100)).await;
            }
            other => return other,
        }
    }
}

/// Opens a topic.
async fn open(broker: &dyn Broker, topic: &Channel, from: Position) -> Result<Reading, Error> {
    patiently(async || broker.queue().subscribe(topic, from).await).await
}

/// The position of a time.
async fn position_at(broker: &dyn Broker, topic: &Channel, millis: u64) -> Result<Position, Error> {
    patiently(async || broker.queue().position_at(topic, millis).await).await
}

/// Exactly these texts at exactly these positions, in this order.
pub fn same(messages: &[QueueMessage], written: &[Vec<u8>], at: &[Position]) -> Outcome {
    let found = messages.iter().map(|message| (message.position, message.payload.to_vec()));
    let right = at.iter().copied().zip(written.iter().cloned());
    ensure(found.clone().eq(right), || {
        let found = found.map(|(at, text)| format!("{at} {}", String::from_utf8_lossy(&text)));
        format!("{:?} instead of {at:?}", found.collect::<Vec<_>>())
    })
}

pub fn refused<T>(outcome: Result<T, Error>, parts: &[&str]) -> Outcome {
    let Err(error) = outcome else { return fail("it was not refused") };
    ensure(error.verdict == Verdict::Refused, || format!("{:?}: {error}", error.verdict))?;
    let missing = parts.iter().find(|part| !error.message.contains(**part));
    missing.map_or(Ok(()), |part| fail(format!("\"{part}\" is not named: {error}")))
}

/// Nothing comes, and nothing fails.
pub async fn silent(reading: &mut Reading, time: Duration) -> Outcome {
    match timeout(time, reading.next()).await {
        Err(_) => Ok(()),
        Ok(other) => fail(format!("{other:?} came from a silent topic")),
    }
}

pub async fn messages_come_in_their_order_each_once(broker: &dyn Broker) -> Outcome {
    let topic = topic("order");
    let mut at = broker.write(&topic, texts(0..40)).await?;
    let bounds = broker.queue().bounds(&topic).await?;
    ensure(bounds == (at[0]..at[39].next()), || format!("{bounds:?} are no bounds of {at:?}"))?;
    let mut reading = open(broker, &topic, bounds.start).await?;
    let mut messages = take(&mut reading, 40).await?;
    at.extend(broker.write(&topic, texts(40..41)).await?);
    at.extend(broker.write(&topic, texts(41..80)).await?);
    messages.extend(take(&mut reading, 40).await?);
    ensure(at.is_sorted_by(|before, after| before < after), || format!("{at:?} do not rise"))?;
    same(&messages, &texts(0..80), &at)
}

pub async fn reading_goes_on_at_any_position(broker: &dyn Broker) -> Outcome {
    let topic = topic("restart");
    let mut at = broker.write(&topic, texts(0..17)).await?;
    broker.disturb(&topic).await?;
    at.extend(broker.write(&topic, texts(17..20)).await?);
    let all = texts(0..20);
    for number in 0..20 {
        let mut here = open(broker, &topic, at[number]).await?;
        same(&take(&mut here, 20 - number).await?, &all[number..], &at[number..])?;
        let mut after = open(broker, &topic, at[number].next()).await?;
        same(&take(&mut after, 19 - number).await?, &all[number + 1..], &at[number + 1..])?;
    }
    Ok(())
}

pub async fn a_wait_that_is_given_up_loses_nothing(broker: &dyn Broker) -> Outcome {
    let topic = topic("cancel");
    let mut at = broker.write(&topic, texts(0..1)).await?;
    let mut reading = open(broker, &topic, at[0]).await?;
    let mut rng = rng("cancel");
    let mut messages = Vec::new();
    let until = Instant::now() + PATIENCE;
    while messages.len() < 200 && Instant::now() < until {
        if at.len() < 200 && rng.random_ratio(1, 4) {
            let more = rng.random_range(1..20).min(200 - at.len());
            at.extend(broker.write(&topic, texts(at.len()..at.len() + more)).await?);
        }
        let waited = match rng.random_range(0..3) {
            0 => reading.next().now_or_never(),
            wait => timeout(Duration::from_millis(wait), reading.next()).await.ok(),
        };
        messages.extend(waited.transpose()?);
    }
    same(&messages, &texts(0..200), &at)
}

pub async fn what_is_delivered_twice_is_told_once(broker: &dyn Broker) -> Outcome {
    let topic = topic("twice");
    let mut at = broker.write(&topic, texts(0..10)).await?;
    let mut reading = open(broker, &topic, at[0]).await?;
    let mut messages = take(&mut reading, 5).await?;
    for round in 1..3 {
        broker.disturb(&topic).await?;
        at.extend(broker.write(&topic, texts(round * 10..round * 10 + 10)).await?);
        messages.extend(take(&mut reading, 10).await?);
    }
    messages.extend(take(&mut reading, 5).await?);
    same(&messages, &texts(0..30), &at)
}

pub async fn a_queue_that_went_away_and_came_back_has_lost_nothing(broker: &dyn Broker) -> Outcome {
    let (topic, idle) = (topic("away"), topic("away-idle"));
    let mut at = broker.write(&topic, texts(0..30)).await?;
    let mut idle_at = broker.write(&idle, texts(0..1)).await?;
    let mut reading = open(broker, &topic, at[0]).await?;
    let mut waiting = open(broker, &idle, idle_at[0].next()).await?;
    let mut messages = take(&mut reading, 10).await?;
    broker.away().await?;
    // nobody knows yet, everybody finds out: what was fetched may still come, then it is an error that passes
    let until = Instant::now() + PATIENCE;
    let error = loop {
        match timeout(PATIENCE, reading.next()).await? {
            Ok(message) => messages.push(message),
            Err(error) => break error,
        }
        ensure(Instant::now() < until, || "it does not fail".into())?;
    };
    ensure(error.is_retry(), || format!("{:?}: {error}", error.verdict))?;
    let asked = broker.queue().bounds(&topic).await;
    ensure(asked.as_ref().is_err_and(Error::is_retry), || format!("{asked:?} of a queue that is away"))?;
    broker.back().await?;
    at.extend(broker.write(&topic, texts(30..60)).await?);
    idle_at.extend(broker.write(&idle, texts(1..2)).await?);
    let left = 60 - messages.len();
    messages.extend(take(&mut reading, left).await?);
    same(&messages, &texts(0..60), &at)?;
    same(&take(&mut waiting, 1).await?, &texts(1..2), &idle_at[1..])
}

pub async fn a_start_that_retention_removed_is_refused_with_the_hole_named(broker: &dyn Broker) -> Outcome {
    let topic = topic("hole");
    let gone = broker.write(&topic, texts(0..10)).await?;
    broker.expire(&topic).await?;
    let kept = broker.write(&topic, texts(10..20)).await?;
    let start = broker.queue().bounds(&topic).await?.start;
    ensure(start == kept[0], || format!("{start} is not the first kept, {}", kept[0]))?;
    for from in [gone[0], gone[4], gone[9]] {
        let hole = format!("hole [{from}, {start})");
        refused(open(broker, &topic, from).await, &[&hole, topic.as_str()])?;
    }
    let mut reading = open(broker, &topic, start).await?;
    same(&take(&mut reading, 10).await?, &texts(10..20), &kept)
}

pub async fn a_topic_that_was_created_anew_is_refused(broker: &dyn Broker) -> Outcome {
    let topic = topic("anew");
    let at = broker.write(&topic, texts(0..10)).await?;
    let mut reading = open(broker, &topic, at[0]).await?;
    take(&mut reading, 10).await?;
    broker.remove(&topic).await?;
    broker.write(&topic, texts(0..3)).await?;
    refused(open(broker, &topic, at[9].next()).await, &[topic.as_str()])?;
    let error = ends(&mut reading).await?;
    ensure(!error.is_retry(), || error.to_string())
}

/// A topic that was created anew is found out while it is shorter; nobody asks until it is longer than the old one was.
pub async fn an_open_topic_that_was_created_anew_and_outgrew_the_old_one_is_refused(
    broker: &dyn Broker,
) -> Outcome {
    let topic = topic("outgrown");
    let at = broker.write(&topic, texts(0..10)).await?;
    let mut reading = open(broker, &topic, at[0]).await?;
    take(&mut reading, 10).await?;
    broker.remove(&topic).await?;
    broker.write(&topic, texts(100..103)).await?;
    sleep(Duration::from_secs(3)).await;
    broker.write(&topic, texts(103..130)).await?;
    let error = ends(&mut reading).await?;
    ensure(!error.is_retry(), || error.to_string())
}

/// The error with which a reading ends that has no more to give.
async fn ends(reading: &mut Reading) -> Outcome<Error> {
    let until = Instant::now() + PATIENCE;
    loop {
        match timeout(PATIENCE, reading.next()).await? {
            Ok(message) => return fail(format!("{} came from another topic", message.position)),
            Err(error) if error.is_retry() && Instant::now() < until => {
                sleep(Duration::from_millis(100)).await;
            }
            Err(error) => return Ok(error),
        }
    }
}

pub async fn a_position_beyond_the_end_is_refused(broker: &dyn Broker) -> Outcome {
    let topic = topic("beyond");
    let at = broker.write(&topic, texts(0..3)).await?;
    let beyond = Position { offset: at[2].offset + 7, ..at[2] };
    refused(open(broker, &topic, beyond).await, &[topic.as_str(), &beyond.to_string()])
}

pub async fn the_largest_message_passes(broker: &dyn Broker) -> Outcome {
    let topic = topic("large");
    let mut large = vec![0; broker.largest()];
    rng("large").fill(large.as_mut_slice());
    let written = [large, b"small".to_vec()];
    let mut at = Vec::new();
    for message in &written {
        at.extend(broker.write(&topic, vec![message.clone()]).await?);
    }
    let mut reading = open(broker, &topic, at[0]).await?;
    let messages = take(&mut reading, 2).await?;
    let equal = messages.iter().map(|message| &message.payload[..]).eq(written.iter().map(Vec::as_slice));
    ensure(equal, || "the bytes are others".into())
}

pub async fn a_silent_topic_is_waited_for(broker: &dyn Broker) -> Outcome {
    let topic = topic("silent");
    let mut at = broker.write(&topic, texts(0..1)).await?;
    let mut reading = open(broker, &topic, at[0].next()).await?;
    // longer than any doubt that a reader may have
    silent(&mut reading, Duration::from_secs(10)).await?;
    at.extend(broker.write(&topic, texts(1..2)).await?);
    same(&take(&mut reading, 1).await?, &texts(1..2), &at[1..])
}

pub async fn asking_creates_nothing(broker: &dyn Broker) -> Outcome {
    let topic = topic("nothing");
    for _ in 0..2 {
        ensure(!broker.queue().exists(&topic).await?, || format!("{topic} exists"))?;
        // to be tried again where brokers that have just started may not know it yet
        let bounds = broker.queue().bounds(&topic).await;
        let is_named = |error: &Error| error.message.contains(topic.as_str()) && error.advice.is_some();
        ensure(bounds.as_ref().is_err_and(is_named), || format!("{bounds:?}"))?;
        let opened = broker.queue().subscribe(&topic, Position::default()).await;
        ensure(opened.is_err_and(|error| is_named(&error)), || "it was opened".into())?;
    }
    broker.write(&topic, texts(0..1)).await?;
    ensure(broker.queue().exists(&topic).await?, || format!("{topic} does not exist"))
}

pub async fn a_time_gives_a_position_before_what_was_written_since(broker: &dyn Broker) -> Outcome {
    let topic = topic("time");
    let mut times = Vec::new();
    let mut at = Vec::new();
    for round in 0..4 {
        times.push(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64);
        at.push(broker.write(&topic, texts(round * 5..round * 5 + 5)).await?);
        sleep(Duration::from_millis(20)).await; // the clock goes on
    }
    for (time, written) in times.iter().zip(&at) {
        let found = position_at(broker, &topic, *time).await?;
        ensure(found == written[0], || format!("{found} instead of {}", written[0]))?;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
    let end = broker.queue().bounds(&topic).await?.end;
    for (time, right) in [(0, at[0][0]), (now + 60_000, end)] {
        let found = position_at(broker, &topic, time).await?;
        ensure(found == right, || format!("{found} instead of {right} at {time}"))?;
    }
    Ok(())
}
