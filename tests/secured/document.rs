//! Task documents whose every connection is secured, and what `tapedeck check` says of them.

use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::queue::{self, Queue};
use crate::stand::process::{Done, run};
use crate::stand::{Outcome, RUN, Secured, Stand, ensure};

/// How long a person may have to wait. Kafka's client takes 5 s to give a question up.
const WITHIN: Duration = Duration::from_secs(30);

/// A stand with logins and certificates, whose services stay up as long as this lives.
pub struct Place {
    pub stand: Stand,
    pub secured: Secured,
    pub queue: &'static dyn Queue,
    _use: Use,
}

/// Services are stopped by no test while others use them.
static SERVICES: RwLock<()> = RwLock::const_new(());

enum Use {
    Shared { _guard: RwLockReadGuard<'static, ()> },
    Alone { _guard: RwLockWriteGuard<'static, ()> },
}

impl Place {
    /// None: there is no such stand, the test is skipped.
    pub async fn find() -> Outcome<Option<Place>> {
        Place::with(Use::Shared { _guard: SERVICES.read().await })
    }

    /// For a test on a queue of this kind.
    pub async fn on(kind: &str) -> Outcome<Option<Place>> {
        let place = Place::find().await?;
        let found = place.as_ref().is_some_and(|place| place.stand.queue_kind() == kind);
        if place.is_some() && !found {
            eprintln!("skipped: the source's queue is not {kind}");
        }
        Ok(place.filter(|_| found))
    }

    /// For a test that stops services.
    pub async fn alone() -> Outcome<Option<Place>> {
        Place::with(Use::Alone { _guard: SERVICES.write().await })
    }

    fn with(used: Use) -> Outcome<Option<Place>> {
        let Some(stand) = Stand::find()? else { return Ok(None) };
        let Some(secured) = stand.secured.clone() else {
            eprintln!("skipped: the stand was not brought up with --secured");
            return Ok(None);
        };
        let Some(queue) = queue::of(&stand) else {
            eprintln!("skipped: nothing of the source's queue can be secured");
            return Ok(None);
        };
        Ok(Some(Place { stand, secured, queue, _use: used }))
    }

    /// Every connection of a document, as `check` calls it.
    pub fn connections(&self) -> [&'static str; 5] {
        ["log", "source.etcd", self.queue.connection(), "source.milvus", "target"]
    }

    /// A reference to a file of the stand's certificates.
    pub fn certificate(&self, name: &str) -> Value {
        json!({ "file": self.secured.certificates.join(name) })
    }

    /// The beginning of a certificate.
    pub fn cut_short(&self, name: &str) -> Outcome<Value> {
        let whole = std::fs::read_to_string(self.secured.certificates.join(name))?;
        self.secret(&format!("half-of-{name}"), whole.split_at(whole.len() / 2).0)
    }

    /// `tls` for servers that show a certificate.
    pub fn one_way(&self) -> Value {
        json!({ "ca": self.certificate("ca.pem") })
    }

    /// `tls` for servers that want to see one as well.
    pub fn two_way(&self, own: &str) -> Value {
        let (certificate, key) = (format!("{own}.pem"), format!("{own}.key"));
        json!({ "ca": self.certificate("ca.pem"), "certificate": self.certificate(&certificate), "key": self.certificate(&key) })
    }

    /// A reference to a file with this secret.
    pub fn secret(&self, name: &str, content: &str) -> Outcome<Value> {
        let folder = self.stand.scratch()?;
        let path = folder.join(format!("secret-{name}"));
        // at once: other tests read the same
        let mut draft = tempfile::NamedTempFile::new_in(&folder)?;
        draft.write_all(content.as_bytes())?;
        draft.persist(&path)?;
        Ok(json!({ "file": path }))
    }

    /// A `replicate` in which every connection has TLS and a login.
    pub fn replicate(&self, name: &str, include: &[&str]) -> Outcome<Value> {
        let token = self.secret("token", self.stand.target.token.as_deref().unwrap_or_default())?;
        let mut spec = self.stand.replicate(&format!("{}-{name}", *RUN), include);
        spec["source"]["etcd"] = json!({
            "endpoints": [format!("https://{}", self.stand.etcd)],
            "root_path": self.stand.source.etcd_root,
            "username": self.secret("user", &self.secured.user)?,
            "password": self.secret("password", &self.secured.password)?,
            "tls": self.two_way("client"),
        });
        spec["source"]["queue"] = self.queue.section(self)?;
        spec["source"]["milvus"]["token"] = token.clone();
        spec["source"]["milvus"]["tls"] = self.one_way();
        spec["log"]["options"]["tls"] = self.one_way();
        spec["target"]["token"] = token;
        spec["target"]["tls"] = self.two_way("client");
        Ok(spec)
    }

    /// `tapedeck check` of a document that differs from the good one in some places. None of a value takes it out.
    pub async fn check(&self, name: &str, changes: &[(&str, Option<Value>)]) -> Outcome<Done> {
        let mut spec = self.replicate(name, &["default.*"])?;
        for (at, value) in changes {
            let (parent, field) = at.rsplit_once('/').expect("a pointer");
            let parent = spec.pointer_mut(parent).expect("a place in the document");
            let parent = parent.as_object_mut().expect("an object");
            match value {
                None => parent.remove(field),
                Some(value) => parent.insert(field.into(), value.clone()),
            };
        }
        let file = self.stand.scratch()?.join(format!("{name}.json"));
        std::fs::write(&file, spec.to_string())?;
        let arguments = ["check", "--spec", &file.display().to_string()];
        let done = run(&self.stand, &arguments, &format!("check-{name}"), WITHIN).await?;
        self.no_secret_in(&done.output)?;
        Ok(done)
    }

    /// Fails where a text shows any of the secrets.
    pub fn no_secret_in(&self, text: &str) -> Outcome {
        let minio = &self.stand.minio;
        let key = std::fs::read_to_string(self.secured.certificates.join("client.key"))?;
        for secret in [
            &self.secured.password,
            &minio.secret_key,
            "root:Milvus",
            "cm9vdDpNaWx2dXM", // the same as it is sent
            "Hidden",
            key.lines().nth(9).unwrap_or_default(),
            "eyJhbGciOi", // every token begins so
        ] {
            ensure(!text.contains(secret), || format!("{secret} is shown in: {text}"))?;
        }
        Ok(())
    }
}

/// The line on a connection, with the advice below it.
pub fn line<'a>(output: &'a str, connection: &str) -> Option<&'a str> {
    let begin = [format!("ok      {connection} "), format!("FAILED  {connection} ")];
    let start = begin.iter().find_map(|begin| output.find(begin))?;
    let line = output.get(start..)?;
    let next =
        ["\nok ", "\nFAILED ", "\nall ", "\ntapedeck:"].iter().filter_map(|next| line.find(next)).min();
    line.get(..next.unwrap_or(line.len()))
}
