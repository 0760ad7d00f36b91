//! Messages of 2.6: its streaming service writes a stream of another kind, which is refused by name.

use tapedeck::error::Verdict;
use tapedeck::message::{self, STREAMING_PROPERTY};

use super::{binary, fixture};

#[test]
fn a_message_of_the_streaming_service_in_rocksmq_is_refused_by_name() {
    for entry in fixture("streaming-2.6") {
        let error = message::header(&binary(&entry, "rocksmq")).unwrap_err();
        assert_eq!(error.verdict, Verdict::Refused);
        assert!(error.message.contains("streaming service"), "{}: {error}", entry["name"]);
    }
}

/// Without its properties an Insert of 2.6 looks like one of 2.5: queues that keep properties have to look at them.
#[test]
fn every_message_of_the_streaming_service_has_the_property() {
    for entry in fixture("streaming-2.6") {
        assert!(entry["properties"][STREAMING_PROPERTY].is_string(), "{}", entry["name"]);
    }
}
