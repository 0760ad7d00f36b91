//! How a client is let in: TLS, and a login.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use pulsar::proto::AuthData;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::connection::Address;
use super::failure::{broken, no_tls};
use crate::error::{Error, Result};
use crate::tls::{PULSAR, Tls, advice};

/// The place in the document.
pub(super) const SECTION: &str = "source.queue.pulsar";

/// Reads the token (a JWT) as it is now: whoever issues it may renew it at any time.
#[derive(Clone)]
pub struct Token(Arc<dyn Fn() -> Result<String> + Send + Sync>);

impl Token {
    /// Of what reads it.
    pub fn new(read: impl Fn() -> Result<String> + Send + Sync + 'static) -> Token {
        Token(Arc::new(read))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// What bytes go over: TCP, or TLS over that.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<W: AsyncRead + AsyncWrite + Send + Sync + Unpin> Wire for W {}

/// What every connection of a queue is made with.
pub(super) struct Access {
    token: Option<Token>,
    tls: Option<Handshake>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("token", &self.token).field("secured", &self.is_secured()).finish()
    }
}

struct Handshake {
    config: Arc<ClientConfig>,
    /// Where it is not the host of the address.
    server_name: Option<ServerName<'static>>,
    /// Whether the client shows one.
    certificate: bool,
}

impl Access {
    /// Where `secured`, with TLS.
    pub fn new(token: Option<Token>, secured: bool, tls: Option<&Tls>) -> Result<Access> {
        let tls = secured.then(|| Handshake::new(tls.unwrap_or(&Tls::default()))).transpose()?;
        Ok(Access { token, tls })
    }

    /// How the addresses begin that it connects to.
    pub fn scheme(&self) -> &'static str {
        let [plain, secured] = PULSAR;
        if self.tls.is_some() { secured } else { plain }
    }

    /// Whether with TLS.
    pub fn is_secured(&self) -> bool {
        self.tls.is_some()
    }

    pub async fn connect(&self, address: &Address) -> Result<Box<dyn Wire>> {
        let stream = TcpStream::connect(&address.0).await.map_err(|error| broken(address, error.into()))?;
        stream.set_nodelay(true).map_err(|error| broken(address, error.into()))?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name = match &tls.server_name {
            Some(name) => name.clone(),
            None => server_name(address.host())?,
        };
        let connecting = TlsConnector::from(tls.config.clone()).connect(name, stream);
        Ok(Box::new(connecting.await.map_err(|error| no_tls(address, &error))?))
    }

    /// Who the client is, as of now.
    pub fn login(&self) -> Result<AuthData> {
        let (method, data) = match &self.token {
            Some(token) => ("token", (token.0)()?.into_bytes()),
            None if self.has_certificate() => ("tls", vec![]), // the handshake has shown it
            None => return Ok(AuthData::default()),
        };
        Ok(AuthData { auth_method_name: Some(method.to_owned()), auth_data: Some(data) })
    }

    /// Adds why brokers may have refused the login: they say no more than that they did.
    pub fn explain(&self, error: Error) -> Error {
        let Some(token) = &self.token else {
            return error.advice(match self.has_certificate() {
                true => "check source.queue.pulsar.tls.certificate: the brokers do not take it as a login",
                false => "give source.queue.pulsar.token: the brokers ask for a login",
            });
        };
        match (token.0)().ok().and_then(|token| expiry(&token)) {
            Some(end) if end <= Timestamp::now() => {
                let message = format!("{}: the token expired at {end}", error.message);
                Error { message, ..error }.advice("put a valid one where source.queue.pulsar.token says")
            }
            _ => {
                error.advice("check source.queue.pulsar.token: why it is refused stands in the brokers' log")
            }
        }
    }

    fn has_certificate(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.certificate)
    }
}

impl Handshake {
    fn new(tls: &Tls) -> Result<Handshake> {
        let config = tls.client().map_err(|error| {
            let said = error.to_string();
            let look = advice(&said, SECTION, PULSAR).unwrap_or_else(|| format!("check {SECTION}.tls"));
            Error::operator(format!("the certificates for Pulsar are of no use: {said}")).advice(look)
        })?;
        let server_name = tls.server_name.as_deref().map(server_name).transpose()?;
        Ok(Handshake { config: Arc::new(config), server_name, certificate: tls.identity.is_some() })
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>> {
    ServerName::try_from(name.to_owned()).map_err(|_| {
        Error::usage(format!("Pulsar: no certificate has the name \"{name}\""))
            .advice(format!("check {SECTION}: the host of url, and tls.server_name"))
    })
}

/// When a JWT ends, if it does.
pub(super) fn expiry(token: &str) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Claims {
        exp: f64,
    }
    let claims = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims = serde_json::from_slice::<Claims>(&claims).ok()?;
    Timestamp::from_second(claims.exp as i64).ok()
}

#[cfg(test)]
mod tests;
