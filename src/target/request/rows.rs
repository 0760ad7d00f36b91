//! Rows and keys as a target takes them: within its limits, and with keys once where it needs that.

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt::Write;

use crate::change::{CollectionName, Keys, Rows};
use crate::error::{Error, Result};
use crate::pb::milvus::proto::milvus::RowsRequest;
use crate::pb::milvus::proto::schema::{CollectionSchema, FieldData, FieldSchema};
use crate::rows::{Key, without_nulls};

/// Keys in one delete request at most.
const MAX_KEYS: usize = 10_000;
/// Bytes in the expression of one delete request, at which it ends.
const MAX_EXPRESSION: usize = 1 << 20;

/// The request that inserts or upserts rows into a collection of this schema, which the target has shown. Columns that
/// the target computes stay out, and so do the entries of null rows. Rows that do not fit are an error for a person.
pub fn rows(
    name: &CollectionName,
    partition: Option<&str>,
    rows: Rows,
    schema: &CollectionSchema,
) -> Result<RowsRequest> {
    rows.check()?;
    let field_of = |column: &FieldData| schema.fields.iter().find(|field| field.name == column.field_name);
    let mut columns = Vec::with_capacity(rows.columns.len());
    for column in rows.columns {
        let is_dynamic = column.is_dynamic || column.field_name == "$meta";
        match field_of(&column) {
            Some(field) if field.is_function_output => continue,
            Some(field) if field.data_type != column.r#type => {
                return Err(misfit(&column.field_name, "another type"));
            }
            None if !(is_dynamic && schema.enable_dynamic_field) => {
                return Err(misfit(&column.field_name, "no field"));
            }
            _ => columns.push(without_nulls(FieldData { field_id: 0, is_dynamic, ..column })?),
        }
    }
    let may_miss =
        |field: &FieldSchema| field.is_function_output || field.nullable || field.default_value.is_some();
    let sent = |field: &FieldSchema| columns.iter().any(|column| column.field_name == field.name);
    if let Some(field) = schema.fields.iter().find(|field| !may_miss(field) && !sent(field)) {
        return Err(misfit(&field.name, "a field that the source does not have"));
    }
    Ok(RowsRequest {
        db_name: name.database.clone(),
        collection_name: name.collection.clone(),
        partition_name: partition.unwrap_or_default().to_owned(),
        fields_data: columns,
        hash_keys: Vec::new(),
        num_rows: u32::try_from(rows.count).unwrap_or(u32::MAX),
    })
}

fn misfit(field: &str, what: &str) -> Error {
    Error::operator(format!("for {field} the target's collection has {what}"))
        .advice("the target's schema is not that of the source: compare both, or replay into an empty target")
}

/// Rows in parts of at most `limit` bytes; a single row above it stays a part of its own.
pub fn split(rows: Rows, limit: usize) -> Result<Vec<Rows>> {
    let mut whole = vec![rows];
    let mut parts = Vec::new();
    while let Some(rows) = whole.pop() {
        if rows.count <= 1 || rows.size() <= limit {
            parts.push(rows);
        } else {
            let half = rows.count / 2;
            whole.push(rows.slice(half..rows.count)?);
            whole.push(rows.slice(0..half)?);
        }
    }
    Ok(parts)
}

/// The rows in which a key stands for the first time, and the others. Within an Upsert a key stands once: the others
/// follow as Insert.
pub fn first_and_further(rows: &Rows, key_field: &str) -> Result<(Rows, Option<Rows>)> {
    let keys = rows.keys(key_field)?;
    let mut seen = HashSet::with_capacity(keys.len());
    let (first, further) =
        keys.iter().enumerate().fold((Vec::new(), Vec::new()), |mut numbers, (number, key)| {
            if seen.insert(key) {
                numbers.0.push(number)
            } else {
                numbers.1.push(number)
            }
            numbers
        });
    if further.is_empty() {
        return Ok((rows.clone(), None));
    }
    Ok((rows.take(&first)?, Some(rows.take(&further)?)))
}

/// The expressions that delete the rows of these keys: `id in [1,2]`, `id in ["a","b"]`. That form alone works on
/// a collection that is not loaded. The smallest integer is one that Milvus does not read, but does compute.
pub fn deletes(key_field: &str, keys: &Keys) -> Vec<String> {
    let mut all = Vec::new();
    let mut expression = String::new();
    let mut count = 0;
    for key in keys.iter() {
        if count == 0 {
            expression = format!("{key_field} in [");
        } else {
            expression.push(',');
        }
        match key {
            Key::Int(i64::MIN) => expression.push_str("-9223372036854775807 - 1"),
            key => write_key(&mut expression, &key),
        }
        count += 1;
        if count == MAX_KEYS || expression.len() >= MAX_EXPRESSION {
            expression.push(']');
            all.push(std::mem::take(&mut expression));
            count = 0;
        }
    }
    if count > 0 {
        expression.push(']');
        all.push(expression);
    }
    all
}

/// A key as a literal of Milvus' expressions.
pub(super) fn write_key(expression: &mut String, key: &Key) {
    match key {
        // writing to a String cannot fail
        Key::Int(key) => {
            let _ = write!(expression, "{key}");
        }
        Key::Text(key) => quote(expression, key),
    }
}

/// A string literal of Milvus' expressions: in double quotes, unescaped there by Go's rules.
fn quote(expression: &mut String, text: &str) {
    expression.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => expression.extend(['\\', character]),
            control if control < ' ' || control == '\x7f' => {
                let _ = write!(expression, "\\x{:02x}", u32::from(control));
            }
            // Milvus 2.5 takes a Han character as it stands for one of four hexadecimal digits
            beyond if beyond > '\u{ffff}' => {
                let _ = write!(expression, "\\U{:08x}", u32::from(beyond));
            }
            other => expression.push(other),
        }
    }
    expression.push('"');
}
