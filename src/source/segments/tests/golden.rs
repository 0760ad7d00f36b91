use prost::Message;

use super::fixture::Fixture;
use crate::change::Rows;
use crate::message;
use crate::pb::milvus::proto::schema::field_data::Field;
use crate::pb::milvus::proto::schema::scalar_field::Data;
use crate::pb::milvus::proto::schema::{FieldData, ScalarField};
use crate::rows::Key;
use crate::source::segments::{Block, Level, Segment, SegmentState};
use crate::tick::Tso;

const KEY: &str = "id";

/// Numbers of the rows that are not deleted.
async fn live(fixture: &Fixture, segment: &Segment, block: &Block) -> Vec<usize> {
    let deletes = fixture.reader(segment).deletes().await.unwrap();
    let keys = block.rows.keys(KEY).unwrap();
    let rows = keys.iter().zip(&block.tsos).enumerate();
    rows.filter(|(_, (key, tso))| !deletes.cover(key, **tso)).map(|(number, _)| number).collect()
}

fn by_key(rows: &Rows) -> Rows {
    let keys = rows.keys(KEY).unwrap().iter().collect::<Vec<Key>>();
    let mut numbers = (0..rows.count).collect::<Vec<_>>();
    numbers.sort_by_key(|number| &keys[*number]);
    let mut rows = rows.take(&numbers).unwrap();
    rows.columns.sort_by_key(|column| column.field_name.clone());
    rows
}

/// An answer has no type for an array without elements.
fn with_bare_arrays(mut column: FieldData) -> FieldData {
    if let Some(Field::Scalars(ScalarField { data: Some(Data::ArrayData(arrays)) })) = &mut column.field {
        for array in arrays.data.iter_mut().filter(|array| array.encoded_len() == 2) {
            array.data = None;
        }
    }
    column
}

#[tokio::test]
async fn rows_and_deletes_of_real_segments_are_what_the_source_answered() {
    for name in ["everything", "bits"] {
        let fixture = Fixture::read(name).await;
        let mut rows = Rows::none();
        for segment in fixture.list.segments.values().filter(|segment| segment.is_readable()) {
            for number in 0..fixture.reader(segment).blocks().unwrap() {
                let block = fixture.reader(segment).block(number).await.unwrap();
                assert!(block.tsos.iter().all(|tso| *tso > Tso::from_millis(1_600_000_000_000)));
                assert_eq!((block.tsos.len(), block.row_ids.len()), (block.rows.count, block.rows.count));
                let live = live(&fixture, segment, &block).await;
                rows.append(block.rows.take(&live).unwrap()).unwrap();
            }
        }
        let (found, answer) = (by_key(&rows), by_key(&fixture.answer));
        assert_eq!((found.count, found.columns.len()), (answer.count, answer.columns.len()), "{name}");
        for (column, answered) in found.columns.into_iter().zip(&answer.columns) {
            assert_eq!(&with_bare_arrays(column), answered, "{name}");
        }
    }
}

#[tokio::test]
async fn the_inserts_of_a_block_are_messages_of_one_tso_each_with_every_row_once() {
    let fixture = Fixture::read("everything").await;
    for segment in fixture.list.segments.values().filter(|segment| segment.is_readable()) {
        let block = fixture.reader(segment).block(0).await.unwrap();
        let inserts = block.inserts(segment, (0..block.rows.count).collect()).unwrap();
        let mut found = Vec::new();
        for insert in &inserts {
            let insert = message::insert(insert.encode_to_vec().into()).unwrap();
            assert_eq!((insert.segment_id, insert.partition_id), (segment.id, segment.partition_id));
            let rows = Rows { columns: insert.fields_data, count: insert.timestamps.len() };
            found.extend(rows.keys(KEY).unwrap().iter().zip(insert.timestamps).zip(insert.row_i_ds));
        }
        let keys = block.rows.keys(KEY).unwrap();
        let tsos = block.tsos.iter().map(|tso| tso.0);
        let mut expected = keys.iter().zip(tsos).zip(block.row_ids.clone()).collect::<Vec<_>>();
        assert!(found.is_sorted_by_key(|((_, tso), _)| *tso));
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
        assert!(inserts.len() < block.rows.count, "rows of one TSO stay together");
    }
}

#[tokio::test]
async fn the_list_tells_segments_apart_and_what_they_hold() {
    let fixture = Fixture::read("everything").await;
    let list = &fixture.list;
    let segment = |wanted: fn(&&Segment) -> bool| list.segments.values().find(wanted).unwrap();
    let dropped = segment(|segment| segment.state == SegmentState::Dropped);
    assert!(dropped.compacted && !dropped.is_readable() && dropped.level == Level::L1);
    let result = segment(|segment| !segment.compacted_from.is_empty());
    assert_eq!((result.state, result.is_readable()), (SegmentState::Flushed, true));
    assert_eq!(result.compacted_from, [dropped.id]);
    let (sum, rows) = (result.binlogs[&1].iter().map(|file| file.entries.unwrap()).sum::<u64>(), result.rows);
    assert_eq!((sum, dropped.binlogs.len()), (rows, fixture.schema.fields.len() + 2));
    let plain = segment(|segment| segment.compacted_from.is_empty() && segment.is_readable());
    let (start, dml) = (plain.start.unwrap(), plain.dml.unwrap());
    assert!(start.tso < dml.tso && start.position < dml.position);
    assert_eq!(list.checkpoints.keys().collect::<Vec<_>>(), [&plain.shard]);
    assert!(list.checkpoints[&plain.shard].tso > start.tso);

    let mut halfway = list.clone();
    let taken_over = halfway.segments.remove(&result.id);
    assert!(list.overtaken_by(list).is_none() && halfway.overtaken_by(&halfway).is_none());
    assert_eq!(halfway.overtaken_by(list).map(|segment| segment.id), taken_over.map(|segment| segment.id));
}
