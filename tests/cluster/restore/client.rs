//! A client that writes request by request and remembers what, so that every instant is known.

use std::collections::BTreeMap;
use std::ops::Range;

use rand::RngExt;
use rand::rngs::StdRng;
use tapedeck::change::Keys;
use tapedeck::pb::milvus::proto::schema::DataType;

use crate::stand::rows::{Key, Rows, rows};
use crate::stand::table::text_key;
use crate::stand::{Milvus, Outcome, Table, rng};

/// What a client writes, request by request.
pub struct Client {
    source: Milvus,
    pub rng: StdRng,
    pub tables: [Written; 2],
    /// The TSOs of requests.
    dated: Vec<u64>,
    /// Instants at which a delete may have happened or not: Milvus 2.3 dates all requests but those.
    unsure: Vec<Range<u64>>,
}

/// What was written to one collection.
pub struct Written {
    pub table: Table,
    next: i64,
    live: Vec<i64>,
    /// By TSO: rows that were written, keys that were deleted.
    requests: BTreeMap<u64, (Rows, Vec<Key>)>,
}

impl Client {
    /// Creates two collections.
    pub async fn create(source: Milvus, tables: [Table; 2]) -> Outcome<Client> {
        for table in &tables {
            source.create_loaded(table).await?;
        }
        let (dated, unsure) = (Vec::new(), Vec::new());
        Ok(Client { source, rng: rng("instants"), tables: tables.map(Written::to), dated, unsure })
    }

    /// Writes; returns the TSO of the last request.
    pub async fn requests(&mut self, count: usize) -> Outcome<u64> {
        for _ in 0..count {
            self.request().await?;
        }
        Ok(self.last())
    }

    fn last(&self) -> u64 {
        self.dated.last().copied().unwrap_or_default()
    }

    async fn request(&mut self) -> Outcome {
        let before = self.last();
        let written = &mut self.tables[self.rng.random_range(0..2)];
        match self.rng.random_range(0..4) {
            0 if written.live.len() > 20 => {
                let keys = written.some(&mut self.rng);
                written.live.retain(|key| !keys.contains(key));
                let (sent, keys) = written.as_keys(keys);
                self.source.delete(&written.table.name, &sent).await?;
                let after = written.insert(&self.source, &mut self.rng).await?;
                written.requests.insert(after - 1, (Rows::new(), keys));
                self.unsure.push(before + 1..after - 1);
                self.dated.push(after);
            }
            1 if written.live.len() > 20 => {
                let keys = written.some(&mut self.rng);
                let sent = written.table.rows(&mut self.rng, keys);
                let upserted = rows(sent.columns.clone(), "id")?;
                let tso = self.source.upsert(&written.table.name, sent).await?.timestamp;
                written.requests.insert(tso, (upserted, Vec::new()));
                self.dated.push(tso);
            }
            _ => self.dated.push(written.insert(&self.source, &mut self.rng).await?),
        }
        Ok(())
    }

    /// A random instant of a range at, just before, or anywhere between requests.
    pub fn instant(&mut self, within: &Range<u64>) -> u64 {
        let whole = self.dated[1] - 1..self.last() + 1;
        let range = whole.start.max(within.start)..whole.end.min(within.end);
        loop {
            let at = self.dated[self.rng.random_range(1..self.dated.len())];
            let instant = match self.rng.random_range(0..3) {
                0 => at,
                1 => at - 1,
                _ => self.rng.random_range(range.clone()),
            };
            if range.contains(&instant) && !self.unsure.iter().any(|unsure| unsure.contains(&instant)) {
                return instant;
            }
        }
    }
}

impl Written {
    fn to(table: Table) -> Written {
        Written { table, next: 0, live: Vec::new(), requests: BTreeMap::new() }
    }

    /// Rows with new keys, and their TSO.
    async fn insert(&mut self, source: &Milvus, rng: &mut StdRng) -> Outcome<u64> {
        let keys = self.next..self.next + rng.random_range(1..15);
        self.next = keys.end;
        self.live.extend(keys.clone());
        let sent = self.table.rows(rng, keys);
        let inserted = rows(sent.columns.clone(), "id")?;
        let tso = source.insert(&self.table.name, sent).await?.timestamp;
        self.requests.insert(tso, (inserted, Vec::new()));
        Ok(tso)
    }

    fn some(&self, rng: &mut StdRng) -> Vec<i64> {
        let at = rng.random_range(0..self.live.len() - 8);
        self.live[at..at + 8].to_vec()
    }

    fn as_keys(&self, keys: Vec<i64>) -> (Keys, Vec<Key>) {
        if self.table.fields[0].data_type() == DataType::Int64 {
            return (Keys::Int(keys.clone()), keys.into_iter().map(Key::Int).collect());
        }
        let texts = keys.into_iter().map(text_key).collect::<Vec<_>>();
        (Keys::Text(texts.clone()), texts.into_iter().map(Key::Text).collect())
    }

    /// The rows at an instant.
    pub fn at(&self, instant: u64) -> Rows {
        let mut rows = Rows::new();
        for (written, deleted) in self.requests.range(..=instant).map(|(_, request)| request) {
            rows.retain(|key, _| !deleted.contains(key));
            rows.extend(written.clone());
        }
        rows
    }
}
