//! Who may ask: a bearer token, compared in constant time; and no pages of other sites.

use std::fmt;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, header};

use super::Problem;
use crate::loopback::is_loopback;

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
    let Some(Token(expected)) = token else { return asks_this_machine(headers) };
    let given = text(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
    match given {
        // Hashes are compared in constant time.
        Some(given) if blake3::hash(given.as_bytes()) == *expected => Ok(()),
        _ => Err(Problem::unauthorized()),
    }
}

/// Whoever gives a name to a page can let it mean this machine later: such a page counts as of the service's
/// own site, so without a token no name but this machine's own is answered. Browsers always send one.
fn asks_this_machine(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(host) = headers.get(header::HOST) else { return Ok(()) };
    let host = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
    if host.is_some_and(|host| is_loopback(host.host())) { Ok(()) } else { Err(Problem::misdirected()) }
}
