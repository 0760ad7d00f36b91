//! Who may ask: a bearer token, compared in constant time; and no pages of other sites.

use std::fmt;

use axum::http::{HeaderMap, header};

use super::Problem;

/// The token that requests must carry, as its hash.
#[derive(Clone)]
pub struct Token(blake3::Hash);

impl Token {
    /// From the secret.
    pub fn new(secret: &str) -> Token {
        Token(blake3::hash(secret.as_bytes()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// Whether a request may pass. A browser names the site of the page that asks: it must be this service's own, or any
/// page that is open on the operator's machine could use a service that listens there.
pub fn allowed(token: Option<&Token>, headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if headers.contains_key(header::ORIGIN) {
        let site = text(header::ORIGIN).and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
        if site.is_none() || site != text(header::HOST) {
            return Err(Problem::forbidden());
        }
    }
    let Some(Token(expected)) = token else { return Ok(()) };
    let given = text(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
    match given {
        // Hashes are compared in constant time.
        Some(given) if blake3::hash(given.as_bytes()) == *expected => Ok(()),
        _ => Err(Problem::unauthorized()),
    }
}
