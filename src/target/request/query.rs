//! Which rows a query is about, as an expression of Milvus.

use super::rows::write_key;
use crate::rows::Key;

/// Rows by their keys.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    /// After one key and up to another, that one included; none: no bound on this side.
    Between(Option<&'a Key>, Option<&'a Key>),
    /// Of these keys, at least one.
    These(&'a [Key]),
}

/// The expression for these rows. All rows have one as well: without any Milvus wants a limit.
pub fn expression(key_field: &str, which: Which<'_>, text: bool) -> String {
    match which {
        Which::Between(None, None) if text => format!("{key_field} >= \"\""),
        Which::Between(None, None) => format!("{key_field} < 0 or {key_field} >= 0"),
        Which::Between(after, to) => {
            let bounds = [after.map(|after| beyond(key_field, after)), to.map(|to| up_to(key_field, to))];
            bounds.into_iter().flatten().collect::<Vec<_>>().join(" and ")
        }
        Which::These(keys) => {
            let smallest = Key::Int(i64::MIN);
            let (low, others): (Vec<_>, Vec<_>) = keys.iter().partition(|key| **key == smallest);
            let low = (!low.is_empty()).then(|| up_to(key_field, &smallest));
            let others = (!others.is_empty()).then(|| listed(key_field, &others));
            low.into_iter().chain(others).collect::<Vec<_>>().join(" or ")
        }
    }
}

fn listed(key_field: &str, keys: &[&Key]) -> String {
    let mut expression = format!("{key_field} in [");
    for (number, key) in keys.iter().enumerate() {
        if number > 0 {
            expression.push(',');
        }
        write_key(&mut expression, key);
    }
    expression.push(']');
    expression
}

// The smallest integer cannot be written: Milvus reads it as the negation of one that is too large.

fn beyond(key_field: &str, key: &Key) -> String {
    match key {
        Key::Int(i64::MIN) => compared(key_field, ">=", &Key::Int(i64::MIN + 1)),
        key => compared(key_field, ">", key),
    }
}

fn up_to(key_field: &str, key: &Key) -> String {
    match key {
        Key::Int(i64::MIN) => compared(key_field, "<", &Key::Int(i64::MIN + 1)),
        key => compared(key_field, "<=", key),
    }
}

fn compared(key_field: &str, operator: &str, key: &Key) -> String {
    let mut expression = format!("{key_field} {operator} ");
    write_key(&mut expression, key);
    expression
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_of_keys_has_an_expression_that_milvus_reads() {
        let (low, seven, quoted) = (Key::Int(i64::MIN), Key::Int(7), Key::Text("a\"\\b".into()));
        for (which, text, expected) in [
            (Which::Between(None, None), false, "id < 0 or id >= 0"),
            (Which::Between(None, None), true, "id >= \"\""),
            (Which::Between(Some(&seven), None), false, "id > 7"),
            (Which::Between(None, Some(&seven)), false, "id <= 7"),
            (Which::Between(Some(&quoted), Some(&quoted)), true, r#"id > "a\"\\b" and id <= "a\"\\b""#),
            (Which::Between(None, Some(&low)), false, "id < -9223372036854775807"),
            (Which::Between(Some(&low), Some(&seven)), false, "id >= -9223372036854775807 and id <= 7"),
            (Which::These(&[Key::Int(7), Key::Int(-1)]), false, "id in [7,-1]"),
            (
                Which::These(&[Key::Int(7), low.clone(), Key::Int(8)]),
                false,
                "id < -9223372036854775807 or id in [7,8]",
            ),
            (Which::These(std::slice::from_ref(&low)), false, "id < -9223372036854775807"),
        ] {
            assert_eq!(expression("id", which, text), expected);
        }
    }
}
