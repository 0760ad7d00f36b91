//! From an error to a status and a problem body (RFC 9457): the only place where that is decided.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::{Error, Verdict};
use crate::task::service::Refusal;

/// What went wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Kind of problem, e.g. `urn:tapedeck:conflict`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened.
    pub detail: String,
    /// What a person can do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Problem {
    fn new(status: StatusCode, kind: &str, title: &str, detail: impl Into<String>) -> Problem {
        let kind = format!("urn:tapedeck:{kind}");
        Problem {
            kind,
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            advice: None,
        }
    }

    fn of(status: StatusCode, kind: &str, title: &str, error: Error) -> Problem {
        Problem { advice: error.advice, ..Problem::new(status, kind, title, error.message) }
    }

    /// No such thing.
    pub fn not_found(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
    }

    /// No such method.
    pub fn method_not_allowed() -> Problem {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        Problem::new(status, "method", "Method not allowed", "this path has no such method")
    }

    /// No token, or a wrong one.
    pub fn unauthorized() -> Problem {
        let detail = "the request carries no valid token";
        let problem = Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "Unauthorized", detail);
        Problem { advice: Some("send Authorization: Bearer TOKEN".to_owned()), ..problem }
    }

    /// A page of another site asks.
    pub fn forbidden() -> Problem {
        Problem::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "Forbidden",
            "requests of other sites' pages are refused",
        )
    }

    /// The request is for a host of another name.
    pub fn misdirected() -> Problem {
        let detail = "without a token only requests to localhost, 127.0.0.1 or [::1] are answered";
        let problem = Problem::new(StatusCode::MISDIRECTED_REQUEST, "host", "Misdirected", detail);
        Problem { advice: Some("ask at one of them, or give the service a token".to_owned()), ..problem }
    }

    /// Not JSON.
    pub fn media_type() -> Problem {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        let problem = Problem::new(status, "media-type", "Unsupported media type", "the body must be JSON");
        Problem { advice: Some("send Content-Type: application/json".to_owned()), ..problem }
    }

    /// It took too long.
    pub fn timeout(after: Duration) -> Problem {
        let detail = format!("no answer within {} s", after.as_secs());
        Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", "Timeout", detail)
    }

    /// The body cannot be read.
    pub fn malformed(error: Error) -> Problem {
        Problem::of(StatusCode::BAD_REQUEST, "request", "Bad request", error)
    }

    /// The request itself is wrong.
    pub fn bad_request(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "request", "Bad request", detail)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        match error.verdict {
            Verdict::Usage => Problem::of(StatusCode::UNPROCESSABLE_ENTITY, "usage", "This cannot be", error),
            Verdict::Fenced => {
                Problem::of(StatusCode::CONFLICT, "fenced", "Another process has taken over", error)
            }
            Verdict::Refused => {
                Problem::of(StatusCode::CONFLICT, "refused", "Going on would lose data", error)
            }
            Verdict::Operator => Problem::of(StatusCode::BAD_GATEWAY, "operator", "A person must act", error),
            Verdict::Retry => Problem::of(StatusCode::SERVICE_UNAVAILABLE, "retry", "Not now", error),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        match refusal {
            Refusal::NotFound(name) => Problem::not_found(format!("there is no task \"{name}\"")),
            Refusal::Conflict(error) => Problem::of(StatusCode::CONFLICT, "conflict", "Conflict", error),
            Refusal::Connection(error) => {
                let title = "A connection of the task does not work; nothing was created";
                Problem::of(StatusCode::UNPROCESSABLE_ENTITY, "connection", title, error)
            }
            Refusal::Failed(error) => error.into(),
        }
    }
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Problem {
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                let status = StatusCode::PAYLOAD_TOO_LARGE;
                Problem::new(status, "too-large", "Too large", "a body may have 1 MB")
            }
            _ => Problem::bad_request(rejection.body_text()),
        }
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Problem {
        Problem::bad_request(rejection.body_text())
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Problem {
        Problem::bad_request(rejection.body_text())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, [(header::CONTENT_TYPE, "application/problem+json")], Json(self)).into_response()
    }
}
