//! `{topic}/{message id}`, the id in decimal. Keys sort as text, which is the order of the ids because all have 18 digits:
//! they began as TSOs, which have 18 digits from 1982 to 2090.

use std::ops::Range;

use crate::position::{Channel, Position};

const DIGITS: usize = 18;
const LAST: i64 = 999_999_999_999_999_999;

/// The key of a message, or where it would stand.
pub(super) fn key(channel: &Channel, position: Position) -> Vec<u8> {
    format!("{channel}/{:0DIGITS$}", position.offset.clamp(0, LAST)).into_bytes()
}

/// Where all keys of a topic lie.
pub(super) fn range(channel: &Channel) -> Range<Vec<u8>> {
    // "0" comes after "/"
    format!("{channel}/").into_bytes()..format!("{channel}0").into_bytes()
}

/// The message id in a key; none: it is no key of a RocksMQ.
pub(super) fn position(key: &[u8]) -> Option<Position> {
    let (topic, id) = std::str::from_utf8(key).ok()?.split_once('/')?;
    let good = !topic.is_empty() && id.len() == DIGITS && id.bytes().all(|byte| byte.is_ascii_digit());
    if good { id.parse().ok().map(Position::offset) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_by_position_and_stay_within_their_topic() {
        let (one, eleven) = (Channel::from("dml_1"), Channel::from("dml_11"));
        let first = 470_662_645_270_446_081;
        let keys = [0, 7, first, first + 1, i64::MAX].map(|id| key(&one, Position::offset(id)));
        assert!(keys.is_sorted());
        assert!(keys.iter().all(|key| range(&one).contains(key)));
        assert!(!range(&one).contains(&key(&eleven, Position::offset(first))));
        assert_eq!(keys[2], b"dml_1/470662645270446081");
    }

    #[test]
    fn only_keys_of_a_rocksmq_are_read_as_such() {
        assert_eq!(position(b"dml_1/470662645270446081"), Some(Position::offset(470_662_645_270_446_081)));
        for other in [
            "acked_ts/dml_1/470662645270446081",
            "dml_1/47",
            "dml_1/47066264527044608x",
            "dml_1",
            "/470662645270446081",
        ] {
            assert_eq!(position(other.as_bytes()), None, "{other}");
        }
        assert_eq!(position(b"dml\xff/470662645270446081"), None);
    }
}
