//! The direction of the data flow, kept: which module may use which.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const WORDS: &[&str] = &[
    "backoff",
    "catalog",
    "change",
    "error",
    "grpc",
    "loopback",
    "message",
    "pb",
    "period",
    "position",
    "progress",
    "rows",
    "selection",
    "tick",
    "tls",
    "trouble",
];

/// What each part may use besides itself and the words.
const MAY_USE: &[(&str, &[&str])] = &[
    ("store", &[]),
    ("source", &["store"]),
    ("log", &["store"]),
    ("archive", &["store", "log"]),
    ("target", &[]),
    ("recorder", &["source", "log", "store"]),
    ("replayer", &["log", "target"]),
    ("compare", &["target"]),
    ("task", &["recorder", "replayer", "archive", "log", "source", "target"]),
    ("api", &["task", "log", "telemetry"]),
    ("telemetry", &[]),
    ("config", &["api", "task", "log", "telemetry"]),
    ("cli", &["config", "api", "task", "compare", "archive", "log", "telemetry"]),
];

#[test]
fn every_module_uses_only_what_lies_before_it() {
    let src = Path::new("src");
    let allowed = MAY_USE.iter().copied().collect::<BTreeMap<_, _>>();
    let mut wrong = Vec::new();
    for file in files(src) {
        let module = module_of(src, &file);
        if ["lib", "main"].contains(&module.as_str()) {
            continue;
        }
        let may_use: &[&str] = allowed.get(module.as_str()).copied().unwrap_or_default();
        assert!(
            allowed.contains_key(module.as_str()) || WORDS.contains(&module.as_str()),
            "the module {module} has no place in the table"
        );
        for used in uses(&fs::read_to_string(&file).unwrap()) {
            if used != module && !WORDS.contains(&used.as_str()) && !may_use.contains(&used.as_str()) {
                wrong.push(format!("{} uses {used}", file.strip_prefix(src).unwrap().display()));
            }
        }
    }
    assert!(wrong.is_empty(), "against the direction:\n{}", wrong.join("\n"));
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .filter(|path| {
            !path.ends_with("tests.rs") && !path.components().any(|part| part.as_os_str() == "tests")
        })
        .collect()
}

fn module_of(src: &Path, file: &Path) -> String {
    let first = file.strip_prefix(src).unwrap().components().next().unwrap();
    first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// The parts that a file names outside its tests: `crate::part` wherever it stands, also in groups.
fn uses(text: &str) -> Vec<String> {
    let code = text
        .split("#[cfg(test)]")
        .next()
        .unwrap_or_default()
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let code = code.collect::<Vec<_>>().join("\n");
    let after = code.split("crate::").skip(1);
    after
        .flat_map(|rest| match rest.strip_prefix('{') {
            Some(group) => {
                group.split('}').next().unwrap_or_default().split(',').map(str::trim).map(word).collect()
            }
            None => vec![word(rest)],
        })
        .filter(|name| !name.is_empty() && name.starts_with(char::is_lowercase))
        .collect()
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}
