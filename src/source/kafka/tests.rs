use super::*;
use std::time::Instant;

fn rss() -> u64 {
    let s = std::fs::read_to_string("/proc/self/status").unwrap();
    s.lines().find(|l| l.starts_with("VmHWM")).unwrap().split_whitespace().nth(1).unwrap().parse().unwrap()
}
fn fds() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore]
async fn real() {
    let brokers = std::env::var("BROKERS").unwrap();
    let topics = std::env::var("TOPICS").unwrap();
    println!("before rss {} fds {} threads {}", rss(), fds(), threads());
    let queue = KafkaQueue::connect(KafkaOptions { brokers, user: None }).unwrap();
    println!("identity {}", queue.identity().await.unwrap());
    println!("unknown: {:?}", queue.bounds(&"nosuch".into()).await);
    let started = Instant::now();
    let mut tasks = vec![];
    for topic in topics.split(',') {
        let channel = Channel::from(topic);
        let bounds = queue.bounds(&channel).await.unwrap();
        println!("{topic} {bounds:?}");
        if bounds.start > Position(0) {
            println!("{:?}", queue.subscribe(&channel, Position(0)).await.err());
        }
        println!("{:?}", queue.subscribe(&channel, bounds.end.next()).await.err());
        let mut sub = queue.subscribe(&channel, bounds.start).await.unwrap();
        tasks.push(tokio::spawn(async move {
            let (mut bytes, mut count, mut expect) = (0usize, 0, bounds.start);
            let t = Instant::now();
            while expect < bounds.end {
                let m = sub.next().await.unwrap();
                if count == 0 {
                    println!("first after {:?}", t.elapsed());
                }
                assert_eq!(m.position, expect);
                expect = expect.next();
                bytes += m.payload.len();
                count += 1;
            }
            (bytes, count)
        }));
    }
    println!("subscribed after {:?}", started.elapsed());
    let (mut bytes, mut count) = (0, 0);
    for task in tasks {
        let (b, c) = task.await.unwrap();
        bytes += b;
        count += c;
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("{count} messages {} MB in {seconds:.2} s = {:.0} MB/s; rss {} fds {} threads {}", bytes >> 20, bytes as f64 / 1e6 / seconds, rss(), fds(), threads());
    let cpu = std::fs::read_to_string("/proc/self/stat").unwrap();
    let f: Vec<_> = cpu.rsplit(')').next().unwrap().split_whitespace().collect();
    println!("cpu ticks user {} sys {}", f[11], f[12]);
    let started = Instant::now();
    drop(queue);
    println!("dropped after {:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore]
async fn produce() {
    use rdkafka::config::ClientConfig;
    use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer, DefaultProducerContext};
    let p: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", std::env::var("BROKERS").unwrap())
        .set("message.max.bytes", "12000000")
        .create()
        .unwrap();
    let size: usize = std::env::var("SIZE").unwrap().parse().unwrap();
    let count: usize = std::env::var("COUNT").unwrap().parse().unwrap();
    let topics = std::env::var("TOPICS").unwrap();
    let payload: Vec<u8> = (0..size).map(|_| rand::random::<u8>()).collect();
    for i in 0..count {
        for topic in topics.split(',') {
            while let Err((e, _)) = p.send(BaseRecord::<(), [u8]>::to(topic).payload(&payload).partition(0)) {
                let _ = e;
                std::thread::sleep(Duration::from_millis(5));
            }
            let _ = i;
        }
    }
    p.flush(Duration::from_secs(120)).unwrap();
}

fn stand(args: &[&str]) {
    let out = std::process::Command::new("python3")
        .arg("/work/main/deploy/stand")
        .args(args)
        .args(["--dir", "/tmp/src-stand"])
        .output()
        .unwrap();
    println!("{args:?}: {}", String::from_utf8_lossy(&out.stdout));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore]
async fn faults() {
    use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
    use rdkafka::client::DefaultClientContext;
    use rdkafka::config::ClientConfig;
    use rdkafka::producer::{FutureProducer, FutureRecord};
    let brokers = std::env::var("BROKERS").unwrap();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &brokers);
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let producer: FutureProducer = config.create().unwrap();
    let topic = format!("f{}", rand::random::<u32>());
    let produce = async |count: usize, size: usize| {
        for i in 0..count {
            let payload = vec![i as u8; size];
            producer.send(FutureRecord::<(), _>::to(&topic).payload(&payload).partition(0), Duration::from_secs(30)).await.unwrap();
        }
    };
    produce(100, 200_000).await;
    let queue = KafkaQueue::connect(KafkaOptions { brokers: brokers.clone(), user: None }).unwrap();
    let channel = Channel::from(topic.as_str());
    println!("at now {:?}", queue.position_at(&channel, 4_000_000_000_000).await);
    println!("at 0 {:?}", queue.position_at(&channel, 0).await);
    let mut sub = queue.subscribe(&channel, Position(0)).await.unwrap();
    sub.next().await.unwrap();
    let mut tpl = TopicPartitionList::new();
    tpl.add_partition_offset(&topic, 0, Offset::Offset(90)).unwrap();
    admin.delete_records(&tpl, &AdminOptions::new()).await.unwrap();
    println!("{:?}", queue.bounds(&channel).await);
    let mut n = 1;
    loop {
        match sub.next().await {
            Ok(_) => n += 1,
            Err(e) => {
                println!("after {n}: {e:?}");
                break;
            }
        }
    }
    println!("sub 10: {:?}", queue.subscribe(&channel, Position(10)).await.err());
    drop(sub);
    println!("cancelled many times");
    let mut sub = queue.subscribe(&channel, Position(95)).await.unwrap();
    let mut got = vec![];
    while got.len() < 5 {
        tokio::select! { biased; _ = tokio::task::yield_now() => {}, m = sub.next() => got.push(m.unwrap().position.0) }
    }
    println!("{got:?}");
    println!("-- broker killed");
    stand(&["kill", "kafka"]);
    for _ in 0..3 {
        let t = Instant::now();
        let e = sub.next().await.err();
        println!("{:?} {e:?}", t.elapsed());
    }
    let t = Instant::now();
    println!("bounds {:?} {:?}", queue.bounds(&channel).await, t.elapsed());
    stand(&["start", "kafka"]);
    let t = Instant::now();
    produce(3, 10).await;
    loop {
        match sub.next().await {
            Ok(m) => {
                println!("{:?} {:?}", t.elapsed(), m.position);
                if m.position.0 == 102 {
                    break;
                }
            }
            Err(e) => println!("{e:?}"),
        }
    }
    println!("-- topic deleted and created");
    admin.delete_topics(&[&topic], &AdminOptions::new()).await.unwrap();
    let e = tokio::time::timeout(Duration::from_secs(20), sub.next()).await;
    println!("deleted: {e:?}");
    admin.create_topics(&[NewTopic::new(&topic, 1, TopicReplication::Fixed(1))], &AdminOptions::new()).await.unwrap();
    produce(5, 10).await;
    println!("sub 103: {:?}", queue.subscribe(&channel, Position(103)).await.err());
    let two = format!("{topic}b");
    admin.create_topics(&[NewTopic::new(&two, 2, TopicReplication::Fixed(1))], &AdminOptions::new()).await.unwrap();
    println!("two: {:?}", queue.bounds(&Channel::from(two.as_str())).await);
    let away = KafkaQueue::connect(KafkaOptions { brokers: "127.0.0.1:1".into(), user: None }).unwrap();
    let t = Instant::now();
    println!("away: {:?} {:?}", away.identity().await, t.elapsed());
    println!("away: {:?} {:?}", away.bounds(&channel).await, t.elapsed());
}
