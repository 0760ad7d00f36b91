//! Secrets by reference. A document says where a secret is; the secret itself is read when a connection is made,
//! and is neither stored nor shown.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::{Error, Result};

const FORM: &str = r#"write {"env": "NAME"} or {"file": "/path"}; the service reads it from there"#;
/// The longest are bundles of certificates.
const MOST_BYTES: u64 = 1 << 20;

/// Where a secret is: `{"env": "NAME"}` or `{"file": "/path"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Secret {
    /// In an environment variable of the service.
    Env(String),
    /// In a file that the service can read; white space at its end is not part of the secret.
    #[schema(value_type = String)]
    File(PathBuf),
}

impl Secret {
    /// In a file that a command is given, relative to where it is run.
    pub fn in_file(path: &Path) -> Secret {
        Secret::File(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()))
    }

    /// Reads a secret of one line: a password, a token, a key. The error names the place, never the content.
    pub fn resolve(&self) -> Result<String> {
        let secret = self.resolve_text()?;
        if !secret.contains(char::is_control) {
            return Ok(secret);
        }
        Err(Error::operator(format!("{self} holds more than one line, or characters that nobody can type"))
            .advice("let it hold the secret alone, without names, quotes or further lines"))
    }

    /// Reads a secret of any number of lines: a certificate, a JSON. The error names the place, never the content.
    pub fn resolve_text(&self) -> Result<String> {
        match self {
            Secret::Env(name) => std::env::var(name).map_err(|_| {
                Error::operator(format!("the environment variable {name} is not set (or not text)"))
                    .advice("set it for the service and start that again")
            }),
            Secret::File(path) => read(path),
        }
    }
}

fn read(path: &PathBuf) -> Result<String> {
    let failed = |why: String| {
        Error::operator(format!("the secret file {} cannot be read: {why}", path.display()))
            .advice("check the path and its permissions for the user of the service")
    };
    // Asked before it is opened: a pipe may have no writer.
    let found = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?;
    if !found.is_file() {
        return Err(failed("it is no regular file".to_owned()));
    }
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| failed(error.kind().to_string()))?;
    // A length may be wrong (`/proc`), or change meanwhile.
    let read = file.take(MOST_BYTES + 1).read_to_string(&mut text);
    if read.map_err(|error| failed(error.kind().to_string()))? as u64 > MOST_BYTES {
        return Err(failed(format!("it has more than {MOST_BYTES} bytes, more than a secret can have")));
    }
    match text.trim_end() {
        "" => Err(failed("it is empty".to_owned())),
        text => Ok(text.to_owned()),
    }
}

/// Reads an optional secret of one line.
pub fn resolve(secret: Option<&Secret>) -> Result<Option<String>> {
    secret.map(Secret::resolve).transpose()
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::Env(name) => write!(f, "the environment variable {name}"),
            Secret::File(path) => write!(f, "the file {}", path.display()),
        }
    }
}

/// By hand: a derived one would repeat a literal secret in its error.
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        deserializer.deserialize_any(Reference)
    }
}

struct Reference;

impl<'de> Visitor<'de> for Reference {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FORM)
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Secret, E> {
        Err(E::custom(format!("a secret itself may not stand in the document: {FORM}")))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Secret, E> {
        self.visit_str("")
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Secret, E> {
        self.visit_str("")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Secret, A::Error> {
        let wrong = || de::Error::custom(format!("not the place of a secret: {FORM}"));
        let (place, value) = map.next_entry::<String, serde_json::Value>()?.ok_or_else(wrong)?;
        let value = value.as_str().filter(|value| !value.is_empty()).ok_or_else(wrong)?;
        if map.next_key::<String>()?.is_some() {
            return Err(wrong());
        }
        match place.as_str() {
            "env" => Ok(Secret::Env(value.to_owned())),
            "file" if value.starts_with('/') => Ok(Secret::File(PathBuf::from(value))),
            "file" => Err(de::Error::custom("the path of a secret's file must be absolute")),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Secret, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn a_literal_secret_is_refused_and_never_repeated() {
        for literal in
            [r#""hunter2""#, r#"{"value": "hunter2"}"#, r#"{"env": "A", "hunter2": "b"}"#, "[\"hunter2\"]"]
        {
            let error = parse(literal).unwrap_err().to_string();
            assert!(error.contains(r#"{"env": "NAME"}"#) && !error.contains("hunter2"), "{error}");
        }
        assert!(!parse("12345").unwrap_err().to_string().contains("12345"));
    }

    #[test]
    fn a_reference_reads_as_it_was_written() {
        for text in [r#"{"env":"TOKEN"}"#, r#"{"file":"/run/secrets/token"}"#] {
            assert_eq!(serde_json::to_string(&parse(text).unwrap()).unwrap(), text);
        }
        assert!(parse(r#"{"file":"token"}"#).unwrap_err().to_string().contains("absolute"));
    }

    #[test]
    fn a_secret_is_read_from_its_file_without_the_line_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "root:Milvus\n").unwrap();
        assert_eq!(Secret::File(path).resolve().unwrap(), "root:Milvus");
        let empty = folder.path().join("empty");
        std::fs::write(&empty, "\n").unwrap();
        assert!(Secret::File(empty).resolve().unwrap_err().message.contains("is empty"));
        let two = folder.path().join("two");
        for text in ["key\nhunter2\n", "hunter2\0"] {
            std::fs::write(&two, text).unwrap();
            let error = Secret::File(two.clone()).resolve().unwrap_err();
            assert!(error.message.contains("two holds more than one line") && error.advice.is_some());
            assert!(!format!("{error:?}").contains("hunter2"));
            assert_eq!(Secret::File(two.clone()).resolve_text().unwrap(), text.trim_end());
        }
        let missing = Secret::File(folder.path().join("nothing")).resolve().unwrap_err();
        assert!(missing.message.contains("nothing") && missing.advice.is_some());
        assert!(
            Secret::Env("TAPEDECK_NOT_SET".to_owned())
                .resolve()
                .unwrap_err()
                .message
                .contains("TAPEDECK_NOT_SET")
        );
    }

    #[test]
    fn a_secret_is_a_small_regular_file() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let long = folder.path().join("long");
        std::fs::write(&long, "x".repeat(MOST_BYTES as usize + 1)).unwrap();
        for (path, why) in [
            (PathBuf::from("/dev/zero"), "it is no regular file"),
            (pipe, "it is no regular file"),
            (folder.path().to_owned(), "it is no regular file"),
            (long, "more than a secret can have"),
        ] {
            let error = Secret::File(path).resolve_text().unwrap_err();
            assert!(error.message.contains(why), "{error}");
        }
    }
}
