//! `tapedeck keygen`: a key for encrypted logs, in age's own text format.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::print;
use crate::error::{Error, Result};
use crate::log::store::encryption::new_key;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write the secret key into a new file that only its owner can read, and print the public key; without it both are
    /// printed
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub fn keygen(args: &Args) -> Result<()> {
    let (public, text) = new_key(jiff::Timestamp::now());
    match &args.output {
        None => print(text.trim_end()),
        Some(path) => {
            write(path, &text).map_err(|error| unwritten(path, &error))?;
            print(public)
        }
    }
}

/// A key that is there is never lost to another.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn unwritten(path: &Path, error: &io::Error) -> Error {
    let message = format!("the key cannot be written to {}: {error}", path.display());
    Error::operator(message).advice(match error.kind() {
        io::ErrorKind::AlreadyExists => "choose another name: what that key has encrypted is lost without it",
        _ => "give a new file in a folder that you may write to",
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::log::store::encryption::read_keys;

    #[test]
    fn a_new_key_is_for_its_owner_alone_and_replaces_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let args = Args { output: Some(folder.path().join("key")) };
        let path = args.output.clone().unwrap();
        keygen(&args).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&path).unwrap();
        let [key] = &read_keys(&text).unwrap()[..] else { panic!("one key") };
        assert!(text.contains(&format!("# public key: {}\n", key.to_public())), "{}", key.to_public());

        let error = keygen(&args).unwrap_err();
        assert!(error.message.contains("exists") && error.advice.is_some(), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}
