//! One error type whose first question is: who acts now?

use std::fmt;

/// The result of everything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Who acts now. Whatever is not known to pass by itself waits for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The next try may succeed: the caller tries again with back-off.
    Retry,
    /// Another process has taken over: this one stops and touches nothing.
    Fenced,
    /// Going on would lose or corrupt data (a gap, damage, another source): stop at this position.
    Refused,
    /// What was asked for cannot be: the request, the task document or the command line must change.
    Usage,
    /// A person must act on the world: a permission, an address, a schema, room on a disk.
    Operator,
}

/// What went wrong, who acts, and what to do.
#[derive(Clone, Debug, thiserror::Error)]
pub struct Error {
    /// Who acts now.
    pub verdict: Verdict,
    /// What happened, with the names and numbers in it. Never a secret.
    pub message: String,
    /// What a person can do about it.
    pub advice: Option<String>,
    /// Whether what failed has certainly done nothing: it can be tried again as it was.
    pub untouched: bool,
}

impl Error {
    fn new(verdict: Verdict, message: impl Into<String>) -> Error {
        Error { verdict, message: message.into(), advice: None, untouched: false }
    }
    /// May pass by itself.
    pub fn retry(message: impl Into<String>) -> Error {
        Error::new(Verdict::Retry, message)
    }
    /// Another process has taken over.
    pub fn fenced(message: impl Into<String>) -> Error {
        Error::new(Verdict::Fenced, message)
    }
    /// Going on would lose or corrupt data.
    pub fn refused(message: impl Into<String>) -> Error {
        Error::new(Verdict::Refused, message)
    }
    /// The request itself is wrong.
    pub fn usage(message: impl Into<String>) -> Error {
        Error::new(Verdict::Usage, message)
    }
    /// A person must act.
    pub fn operator(message: impl Into<String>) -> Error {
        Error::new(Verdict::Operator, message)
    }
    /// Says that what failed has certainly done nothing.
    pub fn untouched(mut self) -> Error {
        self.untouched = true;
        self
    }
    /// Adds what a person can do.
    pub fn advice(mut self, advice: impl Into<String>) -> Error {
        self.advice = Some(advice.into());
        self
    }
    /// Puts what was being done before the message.
    pub fn context(mut self, doing: impl fmt::Display) -> Error {
        self.message = format!("{doing}: {}", self.message);
        self
    }
    /// Whether the next try may succeed.
    pub fn is_retry(&self) -> bool {
        self.verdict == Verdict::Retry
    }
    /// The exit code of a command that ends with this error.
    pub fn exit_code(&self) -> u8 {
        match self.verdict {
            Verdict::Retry | Verdict::Operator => 1,
            Verdict::Usage => 2,
            Verdict::Fenced | Verdict::Refused => 3,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Adds what was being done to the error of a result.
pub trait Context<T> {
    /// Puts `doing` before the error's message.
    fn context<D: fmt::Display>(self, doing: impl FnOnce() -> D) -> Result<T>;
}

impl<T> Context<T> for Result<T> {
    fn context<D: fmt::Display>(self, doing: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|error| error.context(doing()))
    }
}
