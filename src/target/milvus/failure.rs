//! What a Milvus answers when it does not do what it was asked: whose turn it is then.
//!
//! The codes: `milvus-wire.md`, 7.3.

use tonic::{Code, Response};

use crate::error::Error;
use crate::pb::milvus::proto::common::Status;
use crate::pb::milvus::proto::milvus as pb;
use crate::tls::{HTTP, advice, said};

pub(super) const COLLECTION_NOT_FOUND: i32 = 100;
pub(super) const PARTITION_NOT_FOUND: i32 = 200;
pub(super) const INDEX_NOT_FOUND: i32 = 700;
pub(super) const DATABASE_NOT_FOUND: i32 = 800;
pub(super) const ALIAS_NOT_FOUND: i32 = 1600;
pub(super) const ALIAS_EXISTS: i32 = 1602;
const RATE_LIMITED: i32 = 8;

/// Why a call failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// No answer, or one of gRPC itself: but for a few codes the outcome is unknown.
    Call { method: &'static str, code: Code, message: String },
    /// Milvus' answer is no.
    Refusal { method: &'static str, code: i32, legacy: i32, reason: String, retriable: bool },
}

/// An answer with a status in it.
pub(super) trait Answer {
    fn status(&self) -> Option<&Status>;
}

impl Answer for Status {
    fn status(&self) -> Option<&Status> {
        Some(self)
    }
}

macro_rules! answers {
    ($($message:ident),*) => {
        $(impl Answer for pb::$message {
            fn status(&self) -> Option<&Status> {
                self.status.as_ref()
            }
        })*
    };
}
answers!(
    ConnectResponse,
    GetVersionResponse,
    ListDatabasesResponse,
    BoolResponse,
    DescribeCollectionResponse,
    GetCollectionStatisticsResponse,
    ShowCollectionsResponse,
    ShowPartitionsResponse,
    GetLoadStateResponse,
    GetLoadingProgressResponse,
    DescribeIndexResponse,
    MutationResult,
    FlushResponse,
    GetFlushStateResponse,
    AllocTimestampResponse,
    QueryResults
);

/// The answer of a call whose status is success.
pub(super) fn answer<A: Answer>(
    outcome: Result<Response<A>, tonic::Status>,
    method: &'static str,
) -> Result<A, Failure> {
    let answer = outcome.map(Response::into_inner).map_err(|status| {
        let (code, message) = (status.code(), said(&status));
        Failure::Call { method, code, message }
    })?;
    match answer.status() {
        Some(status) if status.code != 0 || status.error_code != 0 => {
            let Status { error_code: legacy, code, retriable, ref reason, .. } = *status;
            Err(Failure::Refusal { method, code, legacy, reason: reason.clone(), retriable })
        }
        _ => Ok(answer),
    }
}

impl Failure {
    /// Whether Milvus refused with this code.
    pub(super) fn is(&self, wanted: i32) -> bool {
        matches!(self, Failure::Refusal { code, .. } if *code == wanted)
    }

    /// Whether Milvus refused and says so in its reason: for refusals without a code of their own.
    pub(super) fn says(&self, text: &str) -> bool {
        matches!(self, Failure::Refusal { reason, .. } if reason.contains(text))
    }

    /// Whether the database or the collection that was named is not there.
    pub(super) fn is_missing(&self) -> bool {
        self.is(COLLECTION_NOT_FOUND)
            || self.is(DATABASE_NOT_FOUND)
            || matches!(self, Failure::Refusal { code: 0, legacy: 4, .. })
            || matches!(self, Failure::Refusal { reason, .. }
                if reason.starts_with("database:") && reason.ends_with(" not found"))
    }

    pub(super) fn is_rate_limit(&self) -> bool {
        self.is(RATE_LIMITED) || matches!(self, Failure::Refusal { legacy: 49, .. })
    }

    /// Whether the answer would have had more bytes than one may have.
    pub(super) fn is_too_large(&self) -> bool {
        match self {
            Failure::Call { code: Code::ResourceExhausted | Code::OutOfRange, message, .. } => {
                too_large(message)
            }
            Failure::Call { .. } => false,
            Failure::Refusal { .. } => self.says("maxOutputSize"),
        }
    }

    /// The error, in the words of whoever failed (source, target).
    pub(super) fn of(self, whose: &str) -> Error {
        let error = Error::from(self);
        let named = |text: String| text.replace("the target", &format!("the {whose}"));
        Error { message: named(error.message), advice: error.advice.map(named), ..error }
    }

    /// Whether the server does not know the method: it is too old.
    pub(super) fn is_unimplemented(&self) -> bool {
        matches!(self, Failure::Call { code: Code::Unimplemented, .. })
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        match failure {
            Failure::Call { method, code, message } => call_error(method, code, &message),
            Failure::Refusal { method, code, legacy, reason, retriable } => {
                let message = format!("the target refuses {method}: {reason} (code {code}, {legacy})");
                refusal_error(code, legacy, &reason, retriable, message)
            }
        }
    }
}

fn too_large(message: &str) -> bool {
    message.contains("larger than max") || message.contains("too large")
}

fn call_error(method: &str, code: Code, message: &str) -> Error {
    let text = format!("{method} failed: {message} ({code:?})");
    match code {
        Code::Unauthenticated | Code::PermissionDenied => Error::operator(text).advice(WRONG_TOKEN),
        Code::ResourceExhausted | Code::OutOfRange if too_large(message) => {
            Error::operator(text).advice("raise proxy.grpc.serverMaxRecvSize of the target")
        }
        Code::Unavailable if message.contains("tcp connect error") => {
            Error::retry(text).untouched().advice("check that the target runs and that its address is right")
        }
        Code::Unavailable => {
            let otherwise = || "check that the target runs and that its address is right".to_owned();
            Error::retry(text).advice(advice(message, "target", HTTP).unwrap_or_else(otherwise))
        }
        Code::Unknown
        | Code::Internal
        | Code::Cancelled
        | Code::Aborted
        | Code::DeadlineExceeded
        | Code::ResourceExhausted => Error { advice: advice(message, "target", HTTP), ..Error::retry(text) },
        Code::Unimplemented => {
            Error::operator(text).advice("the target's version does not offer this operation")
        }
        _ => Error::operator(text),
    }
}

const WRONG_TOKEN: &str = "check the target's token (user:password, or an API key) and what its user may do";

fn refusal_error(code: i32, legacy: i32, reason: &str, retriable: bool, message: String) -> Error {
    let waits = match (code, legacy) {
        (8, _) | (_, 49) => Some("the target limits its rate: raise its quotaAndLimits, or wait"),
        (9, _) | (_, 48) => {
            Some("the target has forced writes off: see its quota for memory, disk and time ticks")
        }
        (3, _) | (_, 52 | 53) => Some("the target is short of memory"),
        (7, _) | (_, 54) => Some("the target is short of disk space"),
        (11, _) | (_, 55) => Some("the target's time ticks lag behind: it is overloaded"),
        (1 | 2, _) | (_, 56 | 57) => Some("the target is starting, or a part of it is down"),
        (4, _) => Some("the target has too many requests in its queue"),
        (106 | 503, _) => Some("the target is recovering"),
        _ if retriable || passes(reason) => Some("the target says that this may pass"),
        _ => None,
    };
    if let Some(advice) = waits {
        let error = Error::retry(message).advice(advice);
        let at_the_door = matches!((code, legacy), (3 | 4 | 7 | 8 | 9 | 11, _) | (_, 48 | 49 | 52..=55));
        return if at_the_door { error.untouched() } else { error };
    }
    let error = Error::operator(message);
    match (code, legacy) {
        (1400 | 1401, _) | (_, 3) => error.advice(WRONG_TOKEN),
        (100 | 200 | 800 | 1700, _) | (0, 4) => error.advice(
            "the target was changed by others: give it what is missing, or replay into an empty target",
        ),
        (1100 | 1101, _) => error.advice(
            "the target's schema is not that of the source: compare both, or replay into an empty target",
        ),
        (1303, _) => {
            error.advice("the target is a standby (common.ttMsgEnabled=false): make it a normal instance")
        }
        _ => error,
    }
}

/// What refusals without a code of their own say where a part of the target, or its queue, is restarting.
const PASSING: [&str; 13] = [
    "context deadline exceeded",
    "context canceled",
    "TaskCondition context Done",
    "code = Unavailable",
    "not ready",
    "etcdserver: ",
    // of a proxy whose coordinator is gone
    "find no available",
    "empty grpc client",
    "node not match",
    // of a proxy whose Pulsar is
    "message send timeout",
    "message send context expired",
    "producer send queue is full",
    "producer already been closed",
];

fn passes(reason: &str) -> bool {
    PASSING.iter().any(|phrase| reason.contains(phrase))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Verdict;

    fn refused(code: i32, legacy: i32, reason: &str, retriable: bool) -> Failure {
        let status =
            Status { error_code: legacy, code, reason: reason.to_owned(), retriable, ..Default::default() };
        answer(Ok(Response::new(status)), "insert").unwrap_err()
    }

    fn failed(status: tonic::Status) -> Error {
        answer::<Status>(Err(status), "insert").unwrap_err().into()
    }

    #[test]
    fn success_needs_both_codes() {
        assert!(answer(Ok(Response::new(Status::default())), "insert").is_ok());
        assert!(refused(0, 4, "no collection", false).is_missing()); // a 2.2 server
        assert!(refused(100, 1, "no collection", false).is_missing());
        assert!(refused(65535, 1, "database:x not found", false).is_missing());
        assert!(!refused(65535, 1, "index not found", false).is_missing());
    }

    #[test]
    fn what_passes_by_itself_is_tried_again() {
        for (code, legacy) in
            [(1, 56), (2, 1), (3, 52), (4, 1), (7, 54), (8, 49), (9, 48), (11, 55), (106, 1), (0, 48)]
        {
            let error = Error::from(refused(code, legacy, "why", false));
            assert!(error.is_retry() && error.advice.is_some(), "{code} {legacy}");
        }
        for reason in [
            "context deadline exceeded",
            "stack trace: ...: empty grpc client: find no available rootcoord, check rootcoord state",
            "message send timeout: TimeoutError",
        ] {
            let error = Error::from(refused(65535, 1, reason, false));
            assert!(error.is_retry() && !error.untouched, "{reason}");
        }
        assert!(Error::from(refused(12345, 1, "new", true)).is_retry());
    }

    #[test]
    fn what_does_not_pass_waits_for_a_person() {
        for code in [100, 101, 200, 1100, 1303, 1400, 1401, 1700, 65535, 12345] {
            let error = Error::from(refused(code, 1, "why", false));
            assert_eq!(error.verdict, Verdict::Operator, "{code}");
            assert!(error.message.contains("why") && error.message.contains("insert"), "{error}");
        }
    }

    #[test]
    fn a_lost_answer_is_tried_again_and_a_wrong_token_is_not() {
        let lost = ["unavailable", "deadline_exceeded", "cancelled", "unknown", "internal", "aborted"];
        let statuses = [
            tonic::Status::unavailable("x"),
            tonic::Status::deadline_exceeded("x"),
            tonic::Status::cancelled("x"),
            tonic::Status::unknown("x"),
            tonic::Status::internal("x"),
            tonic::Status::aborted("x"),
        ];
        for (name, status) in lost.into_iter().zip(statuses) {
            assert!(failed(status).is_retry(), "{name}");
        }
        for status in [tonic::Status::unauthenticated("x"), tonic::Status::permission_denied("x")] {
            let error = failed(status);
            assert_eq!(error.verdict, Verdict::Operator);
            assert!(error.advice.unwrap().contains("token"));
        }
        let too_large = tonic::Status::resource_exhausted("grpc: received message larger than max (9 vs. 8)");
        assert_eq!(failed(too_large).verdict, Verdict::Operator);
    }
}
