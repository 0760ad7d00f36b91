//! Rows as digests: the same for rows that are the same to whoever reads them.
//!
//! Numbers and vectors count bit by bit, JSON by what it means (Milvus may write it in another order), arrays by their
//! elements (an empty one comes with its type or without).

use std::borrow::Cow;

use prost::Message;

use super::merge::Digest;
use crate::change::Rows;
use crate::error::{Error, Result};
use crate::pb::milvus::proto::schema::field_data::Field;
use crate::pb::milvus::proto::schema::scalar_field::Data as Scalar;
use crate::pb::milvus::proto::schema::vector_field::Data as Vector;
use crate::pb::milvus::proto::schema::{FieldData, ScalarField, VectorField};

/// The digest of each row, over these fields in this order.
pub fn digests(rows: &Rows, fields: &[String]) -> Result<Vec<Digest>> {
    if rows.count == 0 {
        return Ok(Vec::new());
    }
    rows.check()?;
    let column = |name: &String| {
        let column = rows.columns.iter().find(|column| column.field_name == *name);
        column.ok_or_else(|| Error::operator(format!("rows came without the field {name}")))
    };
    let columns = fields.iter().map(column).collect::<Result<Vec<_>>>()?;
    Ok((0..rows.count).map(|number| digest(&columns, number, rows.count)).collect())
}

fn digest(columns: &[&FieldData], number: usize, count: usize) -> Digest {
    let mut hasher = blake3::Hasher::new();
    for column in columns {
        match cell(column, number, count) {
            None => hasher.update(&[0]),
            Some(bytes) => hasher.update(&[1]).update(&bytes.len().to_le_bytes()).update(&bytes),
        };
    }
    let mut digest = Digest::default();
    hasher.finalize_xof().fill(&mut digest);
    digest
}

/// One value; none where it is null.
fn cell(column: &FieldData, number: usize, count: usize) -> Option<Cow<'_, [u8]>> {
    if column.valid_data.get(number) == Some(&false) {
        return None;
    }
    match column.field.as_ref()? {
        Field::Scalars(ScalarField { data }) => scalar(data.as_ref()?, number),
        Field::Vectors(VectorField { data, .. }) => match data.as_ref()? {
            Vector::FloatVector(list) => packed(&list.data, number, list.data.len() / count.max(1)),
            Vector::BinaryVector(bytes) | Vector::Float16Vector(bytes) | Vector::Bfloat16Vector(bytes) => {
                packed(bytes, number, bytes.len() / count.max(1))
            }
            Vector::SparseFloatVector(list) => list.contents.get(number).map(|bytes| Cow::from(&bytes[..])),
        },
    }
}

fn scalar(data: &Scalar, number: usize) -> Option<Cow<'_, [u8]>> {
    match data {
        Scalar::BoolData(list) => list.data.get(number).map(|value| Cow::from(vec![u8::from(*value)])),
        Scalar::IntData(list) => list.data.get(number).map(|value| Cow::from(value.to_le_bytes().to_vec())),
        Scalar::LongData(list) => list.data.get(number).map(|value| Cow::from(value.to_le_bytes().to_vec())),
        Scalar::FloatData(list) => packed(&list.data, number, size_of::<f32>()),
        Scalar::DoubleData(list) => packed(&list.data, number, size_of::<f64>()),
        Scalar::StringData(list) => list.data.get(number).map(|text| Cow::from(text.as_bytes())),
        Scalar::BytesData(list) => list.data.get(number).map(|bytes| Cow::from(&bytes[..])),
        Scalar::JsonData(list) => list.data.get(number).map(|json| meaning(json)),
        Scalar::ArrayData(list) => list.data.get(number).map(elements),
    }
}

fn packed(bytes: &[u8], number: usize, width: usize) -> Option<Cow<'_, [u8]>> {
    let start = number.checked_mul(width)?;
    bytes.get(start..start.checked_add(width)?).map(Cow::from)
}

/// Members in the order of their names. As it is counts what is no JSON, and what reading would lose a part of: digits
/// of a long number, or all but the last of several members of one name.
fn meaning(json: &[u8]) -> Cow<'_, [u8]> {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(json) else { return Cow::from(json) };
    let ordered = value.to_string().into_bytes();
    if skeleton(&ordered) == skeleton(json) { Cow::from(ordered) } else { Cow::from(json) }
}

/// What stands outside of texts, without blanks and in no order, with the quotes of each text.
fn skeleton(json: &[u8]) -> Vec<u8> {
    let (mut within, mut escaped) = (false, false);
    let outside = |byte: &&u8| {
        let quote = **byte == b'"' && !escaped;
        within ^= quote;
        escaped = **byte == b'\\' && !escaped;
        quote || (!within && !byte.is_ascii_whitespace())
    };
    let mut outside = json.iter().filter(outside).copied().collect::<Vec<_>>();
    outside.sort_unstable();
    outside
}

fn elements(array: &ScalarField) -> Cow<'_, [u8]> {
    let bytes = array.encode_to_vec();
    // the tag and the length of no elements
    if bytes.len() <= 2 { Cow::default() } else { Cow::from(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::milvus::proto::schema::{
        ArrayArray, BytesArray, FloatArray, JsonArray, LongArray, StringArray,
    };

    fn column(name: &str, data: Scalar) -> FieldData {
        let field = Some(Field::Scalars(ScalarField { data: Some(data) }));
        FieldData { field_name: name.into(), field, ..FieldData::default() }
    }

    fn of(columns: Vec<FieldData>) -> Vec<Digest> {
        let fields = columns.iter().map(|column| column.field_name.clone()).collect::<Vec<_>>();
        digests(&Rows { columns, count: 2 }, &fields).unwrap()
    }

    fn json(values: [&'static str; 2]) -> FieldData {
        column("json", Scalar::JsonData(JsonArray { data: values.map(|json| json.into()).to_vec() }))
    }

    fn arrays(values: [Option<Scalar>; 2]) -> FieldData {
        let data = values.map(|data| ScalarField { data }).to_vec();
        column("array", Scalar::ArrayData(ArrayArray { data, element_type: 0 }))
    }

    #[test]
    fn json_counts_by_its_meaning_and_an_empty_array_needs_no_type() {
        let [one, other] = of(vec![json([r#"{"a":1,"b":[]}"#, r#"{ "b": [], "a": 1 }"#])])[..] else {
            panic!()
        };
        assert_eq!(one, other);
        let [one, other] = of(vec![json([r#"{"a":1}"#, r#"{"a":2}"#])])[..] else { panic!() };
        assert_ne!(one, other);
        let [one, other] = of(vec![arrays([None, Some(Scalar::LongData(LongArray::default()))])])[..] else {
            panic!()
        };
        assert_eq!(one, other);
        let some = Scalar::LongData(LongArray { data: vec![0] });
        let [one, other] = of(vec![arrays([None, Some(some)])])[..] else { panic!() };
        assert_ne!(one, other);
        let some = |text: &str| Some(Scalar::StringData(StringArray { data: vec![text.into()] }));
        let [one, other] = of(vec![arrays([None, some("")])])[..] else { panic!() };
        assert_ne!(one, other, "an empty text is an element");
    }

    #[test]
    fn json_that_loses_something_when_it_is_read_counts_as_it_is() {
        for (values, same) in [
            ([r#"{"a":18446744073709551616}"#, r#"{"a":18446744073709551617}"#], false),
            ([r#"{"a":0.12345678901234567890}"#, r#"{"a":0.12345678901234567891}"#], false),
            ([r#"{"a":1,"a":2}"#, r#"{"a":2}"#], false),
            ([r#"{"b":{"a":1,"a":2}}"#, r#"{"b":{"a":2}}"#], false),
            ([r#"{"a":18446744073709551616}"#, r#"{"a":18446744073709551616}"#], true),
            ([r#"{"a":18446744073709551615,"b":1.5}"#, r#"{"b": 1.5, "a": 18446744073709551615}"#], true),
            ([r#"{"a":"\u00e9\"x","b":1}"#, r#"{ "b": 1, "a": "é\"x" }"#], true),
        ] {
            let [one, other] = of(vec![json(values)])[..] else { panic!() };
            assert_eq!(one == other, same, "{values:?}");
        }
    }

    #[test]
    fn a_value_is_not_mistaken_for_its_neighbours_nor_null_for_nothing() {
        let texts = |name: &str, values: [&str; 2]| {
            column(name, Scalar::StringData(StringArray { data: values.map(str::to_owned).to_vec() }))
        };
        let [one, other] = of(vec![texts("a", ["x\u{1}", "x"]), texts("b", ["", "\u{1}"])])[..] else {
            panic!()
        };
        assert_ne!(one, other);
        let [one, other] = of(vec![FieldData { valid_data: vec![true, false], ..texts("a", ["", ""]) }])[..]
        else {
            panic!()
        };
        assert_ne!(one, other);
    }

    #[test]
    fn numbers_count_bit_by_bit() {
        let bytes = [0.0f32, -0.0].map(f32::to_le_bytes).concat();
        let [one, other] = of(vec![column("f", Scalar::FloatData(FloatArray { data: bytes.into() }))])[..]
        else {
            panic!()
        };
        assert_ne!(one, other);
    }

    #[test]
    fn rows_that_do_not_fit_are_refused() {
        let short = column("b", Scalar::BytesData(BytesArray { data: vec![vec![].into()] }));
        assert!(digests(&Rows { columns: vec![short], count: 2 }, &["b".into()]).is_err());
        let error = digests(&Rows { columns: vec![json(["1", "2"])], count: 2 }, &["other".into()]);
        assert!(error.unwrap_err().message.contains("without the field other"));
    }
}
