//! One connection to a broker. Who owns it asks one thing at a time, and reads what comes in the order in which it
//! comes: what nobody reads stays with the broker.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures::{SinkExt, StreamExt};
use pulsar::error::ConnectionError;
use pulsar::message::{Codec, Message as Frame};
use pulsar::proto::base_command::Type;
use pulsar::proto::{
    AuthData, BaseCommand, CommandAuthResponse, CommandConnect, CommandError, CommandPong, FeatureFlags,
    ServerError,
};
use tokio::time::{Instant, timeout};
use tokio_util::codec::{Decoder, Encoder, Framed};

use super::access::{Access, Wire};
use super::failure::{broken, refused, silent, stranger};
use crate::error::{Error, Result};

/// How long a broker may take for an answer.
pub(super) const ANSWER: Duration = Duration::from_secs(5);
/// Pulsar's protocol as of 2.8.
const PROTOCOL: i32 = 19;
const CLIENT: &str = concat!("tapedeck ", env!("CARGO_PKG_VERSION"));
/// A broker's own limit for messages, where it does not tell.
const MESSAGE: usize = 5 << 20;
/// No broker is believed to have a larger one.
const LARGEST_MESSAGE: usize = 128 << 20;
/// What a frame holds besides its message.
const OVERHEAD: usize = 64 << 10;

/// A broker's address: `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address(pub String);

impl Address {
    /// Of a service URL with one host or several, `pulsar://a:6650,b:6650`. None where it is none of this scheme.
    pub fn all(url: &str, scheme: &str) -> Option<Vec<Address>> {
        let hosts = url.strip_prefix(scheme)?.trim_end_matches('/');
        hosts.split(',').map(Address::parse).collect()
    }

    fn parse(host: &str) -> Option<Address> {
        let (name, port) = host.rsplit_once(':')?;
        let named = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => !name.is_empty() && !name.contains([':', '/', '@', '?', '#']),
        };
        (named && port.parse::<u16>().is_ok()).then(|| Address(host.to_owned()))
    }

    /// Without the port.
    pub fn host(&self) -> &str {
        let host = self.0.rsplit_once(':').map_or(self.0.as_str(), |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']')
    }
}

/// A connection to a broker.
pub(super) struct Connection {
    address: Address,
    access: Arc<Access>,
    frames: Framed<Box<dyn Wire>, Frames>,
    owed: Option<Owed>,
}

/// What the broker asked for and did not get yet.
#[derive(Clone, Copy)]
enum Owed {
    Pong,
    /// Before the last one expires.
    Login,
}

impl Connection {
    /// Connects; `behind` is the broker that a proxy at the address is to connect to.
    pub async fn open(
        address: &Address,
        behind: Option<&Address>,
        access: &Arc<Access>,
    ) -> Result<Connection> {
        let greeting = async {
            let frames = Frames { limit: OVERHEAD, part: 0, heard: Instant::now() };
            let frames = Framed::new(access.connect(address).await?, frames);
            let mut connection =
                Connection { address: address.clone(), access: access.clone(), frames, owed: None };
            let login = connection.login()?;
            let hello = CommandConnect {
                client_version: CLIENT.to_owned(),
                protocol_version: Some(PROTOCOL),
                auth_method_name: login.auth_method_name,
                auth_data: login.auth_data,
                proxy_to_broker_url: behind.map(|broker| broker.0.clone()),
                feature_flags: Some(FeatureFlags {
                    supports_auth_refresh: Some(true),
                    ..FeatureFlags::default()
                }),
                ..CommandConnect::default()
            };
            let greet = async {
                connection.send(command(Type::Connect, |command| command.connect = Some(hello))).await?;
                connection.receive().await
            };
            // whoever hangs up or babbles before the first answer speaks another protocol
            let frame = greet.await.map_err(|error| stranger(address, &error, access.is_secured()))?;
            if let Some(error) = frame.command.error {
                return Err(connection.refused(&error));
            }
            let connected = frame.command.connected;
            let connected = connected.ok_or_else(|| broken(address, ConnectionError::Disconnected))?;
            let message = connected.max_message_size.and_then(|limit| usize::try_from(limit).ok());
            let limit = message.unwrap_or(MESSAGE).min(LARGEST_MESSAGE) + OVERHEAD;
            connection.frames.codec_mut().limit = limit;
            Ok(connection)
        };
        timeout(ANSWER, greeting).await.unwrap_or_else(|_| Err(silent(address)))
    }

    /// Who is at the other end.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// When more came of a frame that is not whole yet: over a slow link that is how one sees that something comes.
    pub fn heard(&self) -> Instant {
        self.frames.codec().heard
    }

    /// Sends a command that has no answer, or whose answer is received like everything else.
    pub async fn send(&mut self, command: BaseCommand) -> Result<()> {
        let frame = Frame { command, payload: None };
        self.frames.send(frame).await.map_err(|error| broken(&self.address, error))
    }

    /// Sends a command and waits for the answer, which `pick` knows, or for an error that it does not take as one.
    /// What else comes before it is dropped.
    pub async fn ask<T>(
        &mut self,
        command: BaseCommand,
        pick: impl Fn(BaseCommand) -> Option<T>,
    ) -> Result<T> {
        let address = self.address.clone();
        let answer = async {
            self.send(command).await?;
            loop {
                let command = self.receive().await?.command;
                let error = command.error.clone();
                if let Some(answer) = pick(command) {
                    return Ok(answer);
                }
                if let Some(error) = error {
                    return Err(self.refused(&error));
                }
            }
        };
        timeout(ANSWER, answer).await.unwrap_or_else(|_| Err(silent(&address)))
    }

    /// What an error means that the broker sent.
    pub fn refused(&self, CommandError { error: code, message, .. }: &CommandError) -> Error {
        let error = refused(&self.address, *code, message);
        match *code == i32::from(ServerError::AuthenticationError) {
            true => self.access.explain(error),
            false => error,
        }
    }

    fn login(&self) -> Result<AuthData> {
        self.access.login().map_err(|error| error.context(format_args!("Pulsar at {}", self.address.0)))
    }

    async fn pay(&mut self, owed: Owed) -> Result<()> {
        self.send(match owed {
            Owed::Pong => command(Type::Pong, |command| command.pong = Some(CommandPong {})),
            Owed::Login => {
                let response = CommandAuthResponse {
                    client_version: Some(CLIENT.to_owned()),
                    protocol_version: Some(PROTOCOL),
                    response: Some(self.login()?),
                };
                command(Type::AuthResponse, |command| command.auth_response = Some(response))
            }
        })
        .await
    }

    /// The next frame; pings and challenges are answered here. Safe to cancel.
    pub async fn receive(&mut self) -> Result<Frame> {
        loop {
            if let Some(owed) = self.owed {
                self.pay(owed).await?;
                self.owed = None;
            }
            match self.frames.next().await {
                Some(Ok(frame)) if frame.command.ping.is_some() => self.owed = Some(Owed::Pong),
                Some(Ok(frame)) if frame.command.auth_challenge.is_some() => self.owed = Some(Owed::Login),
                Some(Ok(frame)) if frame.command.pong.is_some() => {}
                Some(Ok(frame)) => return Ok(frame),
                Some(Err(error)) => return Err(broken(&self.address, error)),
                None => return Err(broken(&self.address, ConnectionError::Disconnected)),
            }
        }
    }
}

/// A command of a type, whose part `fill` puts in.
pub(super) fn command(kind: Type, fill: impl FnOnce(&mut BaseCommand)) -> BaseCommand {
    let mut command = BaseCommand { r#type: kind.into(), ..BaseCommand::default() };
    fill(&mut command);
    command
}

/// Pulsar's frames, up to a length: the buffer holds one.
struct Frames {
    limit: usize,
    /// Bytes of a frame that is not whole yet...
    part: usize,
    /// ...and when they became more.
    heard: Instant,
}

impl Decoder for Frames {
    type Item = Frame;
    type Error = ConnectionError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, ConnectionError> {
        if let Some(length) = buffer.first_chunk::<4>() {
            let length = u32::from_be_bytes(*length);
            if usize::try_from(length).is_ok_and(|length| length > self.limit) {
                return Err(ConnectionError::Decoding(format!("a frame of {length} bytes")));
            }
        }
        let frame = Codec.decode(buffer)?;
        if frame.is_none() && buffer.len() > self.part {
            self.heard = Instant::now();
        }
        self.part = buffer.len();
        if buffer.is_empty() && buffer.capacity() > OVERHEAD {
            *buffer = BytesMut::new(); // it would keep the size of the largest message
        }
        Ok(frame)
    }
}

impl Encoder<Frame> for Frames {
    type Error = ConnectionError;

    fn encode(&mut self, frame: Frame, buffer: &mut BytesMut) -> Result<(), ConnectionError> {
        Codec.encode(frame, buffer)
    }
}
