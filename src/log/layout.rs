//! Every object's key, relative to the log's prefix: built and parsed only here.

use uuid::Uuid;

use crate::error::{Error, Result};
use crate::log::commit::Digest;
use crate::position::Seq;
use crate::tick::Tso;

/// Identity of the log.
pub const IDENTITY: &str = "log.json";
/// Folder of commits.
pub const COMMITS: &str = "commits";
/// Folder of segments.
pub const SEGMENTS: &str = "segments";
/// Folder of catalogs.
pub const CATALOGS: &str = "catalogs";
/// Folder of the positions of replayers.
pub const READERS: &str = "readers";
/// Folders of objects with rows: where a log is encrypted, no key of a recorder's own opens them.
pub const ROWS: &[&str] = &[SEGMENTS, "malformed", "archive", "bases"];

/// Folder of bases.
pub const BASES: &str = "bases";
/// Folder of floors.
pub const FLOOR: &str = "floor";
/// Folder of named restore points.
pub const POINTS: &str = "points";
/// Folder of the archive.
pub const ARCHIVE: &str = "archive";
/// Folder of its manifests.
pub const MANIFESTS: &str = "archive/manifests";

/// `commits/{seq}.pb`: 20 digits, so that listings are in order.
pub fn commit(seq: Seq) -> String {
    format!("{COMMITS}/{:020}.pb", seq.0)
}

/// The number of a commit.
pub fn parse_commit(key: &str) -> Option<Seq> {
    let number = key.strip_prefix(COMMITS)?.strip_prefix('/')?.strip_suffix(".pb")?;
    let seq = Seq(number.parse().ok()?);
    (commit(seq) == key).then_some(seq)
}

/// What the key of a segment or catalog says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// Epoch of the writer.
    pub epoch: u64,
    /// The commit it was written for.
    pub seq: Seq,
    /// Made from the object's digest: the same bytes go to the same key, however often they are sent.
    pub id: Uuid,
}

impl Named {
    /// The name of an object of this digest.
    pub fn new(epoch: u64, seq: Seq, digest: &Digest) -> Named {
        Named { epoch, seq, id: id(digest) }
    }

    fn parse(key: &str, folder: &str, extension: &str) -> Option<Named> {
        let name = key.strip_prefix(folder)?.strip_prefix('/')?.strip_suffix(extension)?;
        let mut parts = name.splitn(3, '-');
        let epoch = parts.next()?.parse().ok()?;
        let seq = Seq(parts.next()?.parse().ok()?);
        Some(Named { epoch, seq, id: parts.next()?.parse().ok()? })
    }
}

fn id(digest: &Digest) -> Uuid {
    let mut id = [0; 16];
    id.copy_from_slice(digest.first_chunk::<16>().unwrap_or(&[0; 16]));
    uuid::Builder::from_custom_bytes(id).into_uuid()
}

/// `segments/{epoch}-{seq}-{uuid}.seg`
pub fn segment(Named { epoch, seq, id }: Named) -> String {
    format!("{SEGMENTS}/{epoch}-{seq}-{id}.seg")
}

/// What a segment's key says.
pub fn parse_segment(key: &str) -> Option<Named> {
    Named::parse(key, SEGMENTS, ".seg").filter(|named| segment(*named) == key)
}

/// `catalogs/{epoch}-{seq}-{uuid}.pb`
pub fn catalog(Named { epoch, seq, id }: Named) -> String {
    format!("{CATALOGS}/{epoch}-{seq}-{id}.pb")
}

/// What a catalog's key says.
pub fn parse_catalog(key: &str) -> Option<Named> {
    Named::parse(key, CATALOGS, ".pb").filter(|named| catalog(*named) == key)
}

/// `readers/{reader}`: the folder of one replayer's positions. The name is that of its task.
pub fn reader(name: &str) -> Result<String> {
    Ok(format!("{READERS}/{}", checked(name, "a reader")?))
}

/// A name that a person gives, which is a part of a key.
fn checked<'a>(name: &'a str, of: &str) -> Result<&'a str> {
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good = (1..=63).contains(&name.len())
        && name.starts_with(letter)
        && name.chars().all(|c| letter(c) || c == '_' || c == '-');
    if !good {
        return Err(Error::usage(format!("\"{}\" cannot be the name of {of}", name.escape_debug()))
            .advice("use 1 to 63 of a-z 0-9 _ -, beginning with a letter or a digit"));
    }
    Ok(name)
}

/// `readers/{reader}/{n}.pb`
pub fn checkpoint(folder: &str, n: u64) -> String {
    format!("{folder}/{n:020}.pb")
}

/// The number of a checkpoint in a reader's folder.
pub fn parse_checkpoint(folder: &str, key: &str) -> Option<u64> {
    let n = key.strip_prefix(folder)?.strip_prefix('/')?.strip_suffix(".pb")?.parse().ok()?;
    (checkpoint(folder, n) == key).then_some(n)
}

/// The replayer of a checkpoint.
pub fn parse_reader(key: &str) -> Option<&str> {
    let (folder, _) = key.rsplit_once('/')?;
    let name = folder.strip_prefix(READERS)?.strip_prefix('/')?;
    (reader(name).is_ok() && parse_checkpoint(folder, key).is_some()).then_some(name)
}

/// `bases/{seq}.pb`
pub fn base(seq: Seq) -> String {
    format!("{BASES}/{:020}.pb", seq.0)
}

/// The commit of a base.
pub fn parse_base(key: &str) -> Option<Seq> {
    let seq = Seq(key.strip_prefix(BASES)?.strip_prefix('/')?.strip_suffix(".pb")?.parse().ok()?);
    (base(seq) == key).then_some(seq)
}

/// `bases/{seq}`: the folder of its segments.
pub fn base_folder(seq: Seq) -> String {
    format!("{BASES}/{:020}", seq.0)
}

/// `bases/{seq}/{uuid}.seg`
pub fn base_segment(seq: Seq, digest: &Digest) -> String {
    format!("{}/{}.seg", base_folder(seq), id(digest))
}

/// The base of a segment.
pub fn parse_base_segment(key: &str) -> Option<Seq> {
    let (seq, name) = key.strip_prefix(BASES)?.strip_prefix('/')?.split_once('/')?;
    let (seq, id) = (Seq(seq.parse().ok()?), name.strip_suffix(".seg")?.parse::<Uuid>().ok()?);
    (format!("{}/{id}.seg", base_folder(seq)) == key).then_some(seq)
}

/// `floor/{n}.pb`
pub fn floor(n: u64) -> String {
    format!("{FLOOR}/{n:020}.pb")
}

/// The number of a floor.
pub fn parse_floor(key: &str) -> Option<u64> {
    let n = key.strip_prefix(FLOOR)?.strip_prefix('/')?.strip_suffix(".pb")?.parse().ok()?;
    (floor(n) == key).then_some(n)
}

/// `points/{name}.pb`: a named restore point.
pub fn point(name: &str) -> Result<String> {
    Ok(format!("{POINTS}/{}.pb", checked(name, "a restore point")?))
}

/// The name of a restore point.
pub fn parse_point(key: &str) -> Option<&str> {
    let name = key.strip_prefix(POINTS)?.strip_prefix('/')?.strip_suffix(".pb")?;
    point(name).is_ok().then_some(name)
}

/// `archive/manifests/{n}.pb`
pub fn manifest(n: u64) -> String {
    format!("{MANIFESTS}/{n:020}.pb")
}

/// The number of an archive's manifest.
pub fn parse_manifest(key: &str) -> Option<u64> {
    let n = key.strip_prefix(MANIFESTS)?.strip_prefix('/')?.strip_suffix(".pb")?.parse().ok()?;
    (manifest(n) == key).then_some(n)
}

/// `archive/{database}/{collection}-{id}/{first tso}-{last tso}-{uuid}.parquet`. The names are for people: of plain
/// letters, and no longer than a folder's name may be.
pub fn archive_file(
    [database, collection]: [&str; 2],
    collection_id: i64,
    [first, last]: [Tso; 2],
    digest: &Digest,
) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name = |name: &str| name.chars().take(200).map(plain).collect::<String>();
    let (database, collection, id) = (name(database), name(collection), id(digest));
    let (first, last) = (first.0, last.0);
    format!("{ARCHIVE}/{database}/{collection}-{collection_id}/{first:020}-{last:020}-{id}.parquet")
}

/// Whether a key is one that an archive's file can have.
pub fn is_archive_file(key: &str) -> bool {
    let plain = |part: &str| part.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    let file = key.strip_prefix(ARCHIVE).and_then(|key| key.strip_prefix('/')?.strip_suffix(".parquet"));
    file.is_some_and(|file| {
        file.split('/').count() == 3 && file.split('/').all(|part| !part.is_empty() && plain(part))
    })
}

/// The highest TSO of the rows in a file of the archive, as its key says it.
pub fn archive_file_last(key: &str) -> Option<Tso> {
    let (_, name) = key.rsplit_once('/').filter(|_| is_archive_file(key))?;
    let (first, rest) = name.split_once('-')?;
    let (last, id) = rest.split_once('-')?;
    id.strip_suffix(".parquet")?.parse::<Uuid>().ok()?;
    let tso = |digits: &str| digits.parse().ok().filter(|tso: &u64| format!("{tso:020}") == digits);
    tso(first).and(tso(last)).map(Tso)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_key_is_parsed_back_and_only_its_own_folder_takes_it(epoch: u64, seq: u64, digest: Digest) {
            let (seq, named) = (Seq(seq), Named::new(epoch, Seq(seq), &digest));
            prop_assert_eq!(parse_commit(&commit(seq)), Some(seq));
            prop_assert_eq!(parse_segment(&segment(named)), Some(named));
            prop_assert_eq!(parse_catalog(&catalog(named)), Some(named));
            prop_assert_eq!(parse_checkpoint("readers/a", &checkpoint("readers/a", seq.0)), Some(seq.0));
            let of_reader = checkpoint("readers/a", seq.0);
            prop_assert_eq!(parse_reader(&of_reader), Some("a"));
            prop_assert_eq!(parse_manifest(&manifest(seq.0)), Some(seq.0));
            prop_assert_eq!(parse_floor(&floor(seq.0)), Some(seq.0));
            prop_assert_eq!(parse_base(&base(seq)), Some(seq));
            prop_assert_eq!(parse_base_segment(&base_segment(seq, &digest)), Some(seq));
            prop_assert_eq!(parse_base(&base_segment(seq, &digest)), None);
            prop_assert_eq!(parse_segment(&catalog(named)), None);
            prop_assert_eq!(parse_commit(&checkpoint("readers/a", seq.0)), None);
        }

        #[test]
        fn keys_of_commits_sort_as_their_numbers(a: u64, b: u64) {
            prop_assert_eq!(commit(Seq(a)).cmp(&commit(Seq(b))), a.cmp(&b));
        }

        #[test]
        fn whatever_stands_in_a_folder_is_parsed_or_passed_over(key in "(commits|segments|catalogs)/[-0-9a-f.]{0,60}(.pb|.seg)?") {
            for canonical in [
                parse_commit(&key).map(commit),
                parse_segment(&key).map(segment),
                parse_catalog(&key).map(catalog),
            ].into_iter().flatten() {
                prop_assert_eq!(&canonical, &key);
            }
        }
    }

    #[test]
    fn other_spellings_of_a_number_are_not_keys() {
        for key in
            ["commits/1.pb", "commits/+0000000000000000001.pb", "commits/00000000000000000001.PB", "commits/"]
        {
            assert_eq!(parse_commit(key), None, "{key}");
        }
    }

    #[test]
    fn a_file_of_the_archive_stays_in_its_folder_whatever_its_collection_is_called() {
        let tsos = [Tso(1), Tso(u64::MAX)];
        for name in ["docs", "..", "a/b", "d\u{e9}j\u{e0}", &"x".repeat(255), ""] {
            let key = archive_file(["default", name], 7, tsos, &[0; 32]);
            assert!(is_archive_file(&key) && key.split('/').all(|part| part.len() < 256), "{key}");
            assert_eq!(archive_file_last(&key), Some(tsos[1]));
        }
        assert!(
            archive_file(["default", "docs"], 7, tsos, &[0; 32]).starts_with("archive/default/docs-7/00")
        );
        for key in [
            "archive/../x.parquet",
            "archive/a//x.parquet",
            "archive/a/b/c/x.parquet",
            "segments/a/b/x.parquet",
        ] {
            assert!(!is_archive_file(key) && archive_file_last(key).is_none(), "{key}");
        }
        let whole = archive_file(["default", "docs"], 7, tsos, &[0; 32]);
        for key in [whole.replace("/0", "/"), whole.replace(".parquet", "0.parquet")] {
            assert!(is_archive_file(&key) && archive_file_last(&key).is_none(), "{key}");
        }
    }

    #[test]
    fn a_name_cannot_lead_to_a_place_outside_its_folder() {
        for name in ["", "..", "a/b", "A", "-a", &"a".repeat(64), "a\u{e9}"] {
            assert!(reader(name).is_err() && point(name).is_err(), "{name}");
        }
        assert_eq!(reader("dr-east_2").unwrap(), "readers/dr-east_2");
        assert_eq!(point("before-2.6").unwrap_err().exit_code(), 2);
        let key = point("release_7").unwrap();
        assert_eq!((key.as_str(), parse_point(&key)), ("points/release_7.pb", Some("release_7")));
    }
}
