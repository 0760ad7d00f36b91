//! Which collections a task is about, and what they are called on the other side. Pure.
//!
//! A pattern is `database.collection`; `*` in either part stands for any run of characters. `*.*` is every collection
//! of every database, later ones too. What is excluded is out, whatever includes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::change::CollectionName;
use crate::error::{Error, Result};

const FORM: &str = "write database.collection, such as default.docs, db1.* or *.*";

/// The collections that a task is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

impl Default for Selection {
    /// Everything, later collections too.
    fn default() -> Selection {
        Selection { include: vec![Pattern::everything()], exclude: Vec::new() }
    }
}

impl Selection {
    /// From patterns. Usage errors: an empty `include`, a malformed pattern, a selection that can never match.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Selection> {
        let parse = |list: &str, patterns: &[String]| {
            let patterns = patterns.iter().enumerate();
            patterns
                .map(|(at, text)| Pattern::parse(&format!("select.{list}[{at}]"), text))
                .collect::<Result<Vec<_>>>()
        };
        let selection =
            Selection { include: parse("include", include)?, exclude: parse("exclude", exclude)? };
        if selection.include.is_empty() {
            return Err(Error::usage("select.include: it is empty, so that nothing is selected")
                .advice("leave \"select\" out to select everything, or name collections"));
        }
        if selection
            .include
            .iter()
            .all(|included| selection.exclude.iter().any(|pattern| pattern.covers(included)))
        {
            return Err(Error::usage(
                "select: every included pattern is excluded, so that nothing can ever match",
            )
            .advice("take a pattern out of select.exclude"));
        }
        Ok(selection)
    }

    /// Whether a collection is selected.
    pub fn matches(&self, name: &CollectionName) -> bool {
        let any = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(name));
        any(&self.include) && !any(&self.exclude)
    }

    /// Whether a database can hold a selected collection, and so is created and dropped with it.
    pub fn matches_database(&self, database: &str) -> bool {
        self.include.iter().filter(|included| glob(&included.database, database)).any(|included| {
            let here = Pattern { database: database.to_owned(), ..included.clone() };
            !self.exclude.iter().any(|pattern| pattern.covers(&here))
        })
    }

    /// Whether every collection of a database is selected, later ones too.
    pub fn takes_all_of(&self, database: &str) -> bool {
        let here = |pattern: &&Pattern| glob(&pattern.database, database);
        self.include.iter().filter(here).any(|pattern| pattern.collection == "*")
            && !self.exclude.iter().any(|pattern| here(&pattern))
    }

    /// Whether some included pattern names this very database.
    fn names_database(&self, database: &str) -> bool {
        self.include.iter().any(|pattern| pattern.database == database)
    }

    /// Whether some included pattern is this very collection.
    fn names(&self, name: &CollectionName) -> bool {
        self.include
            .iter()
            .any(|pattern| pattern.database == name.database && pattern.collection == name.collection)
    }
}

/// For people: `shop.*, default.docs without shop.tmp_*`.
impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |patterns: &[Pattern]| {
            let patterns =
                patterns.iter().map(|pattern| format!("{}.{}", pattern.database, pattern.collection));
            patterns.collect::<Vec<_>>().join(", ")
        };
        f.write_str(&list(&self.include))?;
        match self.exclude.is_empty() {
            true => Ok(()),
            false => write!(f, " without {}", list(&self.exclude)),
        }
    }
}

/// Names of the source and what they become at the target. A rename of one collection goes before that of its database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renames {
    collections: BTreeMap<CollectionName, CollectionName>,
    databases: BTreeMap<String, String>,
}

impl Renames {
    /// From `{"db.collection": "db2.collection2", "db.*": "db2.*"}`. Usage errors: other forms, something that is
    /// not selected, two sources that would become one target.
    pub fn new(renames: &BTreeMap<String, String>, selection: &Selection) -> Result<Renames> {
        let mut parsed = Renames::default();
        for (from, to) in renames {
            parsed.add(from, to, selection)?;
        }
        parsed.check_one_to_one(selection)?;
        Ok(parsed)
    }

    /// The name at the target.
    pub fn apply(&self, name: &CollectionName) -> CollectionName {
        match self.collections.get(name) {
            Some(renamed) => renamed.clone(),
            None => CollectionName::new(self.apply_database(&name.database), &name.collection),
        }
    }

    /// The name of a database at the target.
    pub fn apply_database(&self, database: &str) -> String {
        self.databases.get(database).cloned().unwrap_or_else(|| database.to_owned())
    }

    /// The source's name of what has this name at the target; none: no name of the source becomes it.
    pub fn origin(&self, target: &CollectionName) -> Option<CollectionName> {
        let single = self.collections.iter().find(|(_, renamed)| *renamed == target);
        let origin = match single {
            Some((source, _)) => source.clone(),
            None => CollectionName::new(self.origin_database(&target.database)?, &target.collection),
        };
        (self.apply(&origin) == *target).then_some(origin)
    }

    /// The source's name of a database of the target; none: no database of the source becomes it.
    pub fn origin_database<'a>(&'a self, target: &'a str) -> Option<&'a str> {
        let renamed = self.databases.iter().find(|(_, renamed)| *renamed == target);
        let kept = || (!self.databases.contains_key(target)).then_some(target);
        renamed.map(|(source, _)| source.as_str()).or_else(kept)
    }

    /// Databases of the target that no definition of the source creates: those that renames of single collections name,
    /// and that of the source's `default`, which is always there.
    pub fn target_databases(&self) -> BTreeSet<&str> {
        let single = self.collections.values().map(|name| name.database.as_str());
        single.chain(self.databases.get("default").map(String::as_str)).collect()
    }

    fn add(&mut self, from: &str, to: &str, selection: &Selection) -> Result<()> {
        let at = format!("rename[\"{from}\"]");
        let (source, target) = (Pattern::parse(&at, from)?, Pattern::parse(&at, to)?);
        let unselected = || {
            Error::usage(format!("{at}: \"{from}\" is not selected"))
                .advice("select it, or take the rename out")
        };
        match (source.whole_database(), target.whole_database()) {
            (Some(source), Some(target)) => {
                if !selection.matches_database(source) {
                    return Err(unselected());
                }
                self.databases.insert(source.to_owned(), target.to_owned());
            }
            _ => {
                let (Some(source), Some(target)) = (source.literal(), target.literal()) else {
                    return Err(Error::usage(format!("{at}: \"{from}\" cannot become \"{to}\""))
                        .advice("write \"db.collection\": \"db2.collection2\" or \"db.*\": \"db2.*\""));
                };
                if !selection.matches(&source) {
                    return Err(unselected());
                }
                self.collections.insert(source, target);
            }
        }
        Ok(())
    }

    /// What keeps its name counts only where the selection names it: behind a `*` it may not exist.
    fn check_one_to_one(&self, selection: &Selection) -> Result<()> {
        let mut databases = BTreeMap::new();
        for (source, target) in &self.databases {
            let kept = !self.databases.contains_key(target) && selection.names_database(target);
            if let Some(other) = databases.insert(target, source).or(kept.then_some(target)) {
                return Err(twice(&format!("{other}.*"), &format!("{source}.*"), &format!("{target}.*")));
            }
        }
        let mut collections = BTreeMap::new();
        for (source, target) in &self.collections {
            let other = collections.insert(target, source).cloned().or_else(|| {
                let same_name = |database: &String| CollectionName::new(database, &target.collection);
                let moved = databases.get(&target.database).map(|database| same_name(database));
                moved.or_else(|| selection.names(target).then(|| target.clone())).filter(|other| {
                    selection.matches(other) && self.apply(other) == *target && other != source
                })
            });
            if let Some(other) = other {
                return Err(twice(&other.to_string(), &source.to_string(), &target.to_string()));
            }
        }
        Ok(())
    }
}

fn twice(first: &str, second: &str, target: &str) -> Error {
    Error::usage(format!("rename: both \"{first}\" and \"{second}\" would become \"{target}\""))
        .advice("give each a name of its own, or select only one of them")
}

/// `database.collection`, each part with `*` for any run of characters.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    database: String,
    collection: String,
}

impl Pattern {
    fn everything() -> Pattern {
        Pattern { database: "*".to_owned(), collection: "*".to_owned() }
    }

    fn parse(at: &str, text: &str) -> Result<Pattern> {
        let wrong = |why: String| Err(Error::usage(format!("{at}: \"{text}\" {why}")).advice(FORM));
        let Some((database, collection)) = text.split_once('.') else {
            return wrong("has no dot between database and collection".to_owned());
        };
        if database.is_empty() || collection.is_empty() {
            return wrong("lacks a part".to_owned());
        }
        let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '-' | '*');
        if let Some(bad) = database.chars().chain(collection.chars()).find(|c| !allowed(c)) {
            return wrong(format!("holds {bad:?}, which no name in Milvus has"));
        }
        Ok(Pattern { database: database.to_owned(), collection: collection.to_owned() })
    }

    fn matches(&self, name: &CollectionName) -> bool {
        glob(&self.database, &name.database) && glob(&self.collection, &name.collection)
    }

    /// Whether everything that the other matches is matched by this one. The other's `*` is read as a character that
    /// only a `*` matches: it stands for characters that this pattern does not spell out.
    fn covers(&self, other: &Pattern) -> bool {
        glob(&self.database, &other.database) && glob(&self.collection, &other.collection)
    }

    /// The database of `database.*`.
    fn whole_database(&self) -> Option<&str> {
        (self.collection == "*" && !self.database.contains('*')).then_some(&self.database)
    }

    /// The one collection that it names.
    fn literal(&self) -> Option<CollectionName> {
        let literal = !self.database.contains('*') && !self.collection.contains('*');
        literal.then(|| CollectionName::new(&self.database, &self.collection))
    }
}

/// Whether a pattern matches all of a text. The pieces between stars are found from left to right, each as early as
/// possible; the last one ends the text.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    for piece in middle.split('*') {
        let Some((_, after)) = text.split_once(piece) else { return false };
        text = after;
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    fn select(include: &[&str], exclude: &[&str]) -> Result<Selection> {
        Selection::new(&strings(include), &strings(exclude))
    }

    fn rename(pairs: &[(&str, &str)], selection: &Selection) -> Result<Renames> {
        let pairs = pairs.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect();
        Renames::new(&pairs, selection)
    }

    fn name(text: &str) -> CollectionName {
        let (database, collection) = text.split_once('.').unwrap();
        CollectionName::new(database, collection)
    }

    #[test]
    fn what_is_excluded_is_out_whatever_includes_it() {
        let selection = select(&["*.*", "scratch.keep"], &["scratch.*", "*.tmp_*"]).unwrap();
        assert!(selection.matches(&name("default.docs")));
        assert!(!selection.matches(&name("scratch.keep")));
        assert!(!selection.matches(&name("default.tmp_1")));
        assert!(selection.matches(&name("default.my_tmp_1")));
    }

    #[test]
    fn a_database_is_selected_when_it_can_hold_a_selected_collection() {
        let selection = select(&["db1.docs", "sales_*.*"], &["sales_old.*", "*.tmp"]).unwrap();
        assert!(selection.matches_database("db1"));
        assert!(selection.matches_database("sales_eu"));
        assert!(!selection.matches_database("sales_old"));
        assert!(!selection.matches_database("default"));
    }

    #[test]
    fn a_database_is_taken_as_a_whole_when_nothing_of_it_can_stay_out() {
        let selection = select(&["db1.docs", "sales_*.*", "x.a*"], &["sales_old.tmp", "*_eu.*"]).unwrap();
        let whole = ["db1", "sales", "sales_us", "sales_old", "sales_eu", "x"];
        assert_eq!(whole.map(|name| selection.takes_all_of(name)), [false, false, true, false, false, false]);
        assert!(Selection::default().takes_all_of("any"));
    }

    #[test]
    fn a_selection_that_says_nothing_is_refused_with_the_place_and_the_reason() {
        for (include, exclude, message) in [
            (vec![], vec![], "select.include: it is empty"),
            (vec!["docs"], vec![], "select.include[0]: \"docs\" has no dot"),
            (vec!["*.*"], vec!["a.b", "x."], "select.exclude[1]: \"x.\" lacks a part"),
            (vec!["db.do cs"], vec![], "select.include[0]: \"db.do cs\" holds ' '"),
            (vec!["a.b.c"], vec![], "holds '.'"),
            (vec!["db.a*", "db.b"], vec!["db.*"], "nothing can ever match"),
            (vec!["*.*"], vec!["*.*"], "nothing can ever match"),
        ] {
            let error = select(&include, &exclude).unwrap_err();
            assert!(error.message.contains(message), "{error}");
            assert_eq!(error.exit_code(), 2);
            assert!(error.advice.is_some());
        }
    }

    #[test]
    fn a_rename_of_a_collection_goes_before_that_of_its_database() {
        let all = Selection::default();
        let renames = rename(&[("db1.docs", "other.docs_copy"), ("db1.*", "db2.*")], &all).unwrap();
        assert_eq!(renames.apply(&name("db1.docs")), name("other.docs_copy"));
        assert_eq!(renames.apply(&name("db1.more")), name("db2.more"));
        assert_eq!(renames.apply(&name("default.docs")), name("default.docs"));
        assert_eq!(renames.apply_database("db1"), "db2");
        assert_eq!(renames.apply_database("default"), "default");
        assert_eq!(renames.target_databases().into_iter().collect::<Vec<_>>(), ["other"]);
    }

    #[test]
    fn the_origin_of_a_name_is_what_becomes_it() {
        let all = Selection::default();
        let renames = rename(&[("db1.docs", "other.docs_copy"), ("db1.*", "db2.*")], &all).unwrap();
        for source in ["db1.docs", "db1.more", "default.docs"] {
            assert_eq!(renames.origin(&renames.apply(&name(source))), Some(name(source)));
        }
        for none in ["db2.docs", "db1.more"] {
            assert_eq!(renames.origin(&name(none)), None, "{none}");
        }
    }

    #[test]
    fn two_names_can_be_exchanged() {
        let renames =
            rename(&[("a.x", "a.y"), ("a.y", "a.x")], &select(&["a.x", "a.y"], &[]).unwrap()).unwrap();
        assert_eq!(renames.apply(&name("a.x")), name("a.y"));
        rename(&[("a.*", "b.*"), ("b.*", "a.*")], &select(&["a.*", "b.*"], &[]).unwrap()).unwrap();
    }

    #[test]
    fn a_rename_that_cannot_be_is_refused() {
        for (include, pairs, message) in [
            (vec!["*.*"], vec![("a.x", "c.z"), ("b.y", "c.z")], "would become \"c.z\""),
            (vec!["*.*"], vec![("a.*", "c.*"), ("b.*", "c.*")], "would become \"c.*\""),
            (vec!["*.*"], vec![("a.*", "c.*"), ("b.x", "c.x")], "would become \"c.x\""),
            (vec!["a.x", "a.y"], vec![("a.x", "a.y")], "would become \"a.y\""),
            (vec!["a.*", "b.*"], vec![("a.*", "b.*")], "would become \"b.*\""),
            (vec!["a.*"], vec![("b.x", "b.y")], "\"b.x\" is not selected"),
            (vec!["a.*"], vec![("b.*", "c.*")], "\"b.*\" is not selected"),
            (vec!["*.*"], vec![("a.*", "b.x")], "cannot become"),
            (vec!["*.*"], vec![("a.x*", "b.x*")], "cannot become"),
            (vec!["*.*"], vec![("a.x", "y")], "has no dot"),
        ] {
            let error = rename(&pairs, &select(&include, &[]).unwrap()).unwrap_err();
            assert!(error.message.contains(message), "{error}");
            assert!(error.advice.is_some());
        }
    }

    /// The definition of a glob, one character at a time.
    fn glob_by_definition(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) => {
                (0..=text.len()).any(|skipped| glob_by_definition(rest, &text[skipped..]))
            }
            (Some((expected, pattern)), Some((c, text))) => {
                expected == c && glob_by_definition(pattern, text)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn a_glob_means_what_its_definition_says(pattern in "[ab*]{1,7}", text in "[ab]{0,9}") {
            prop_assert_eq!(glob(&pattern, &text), glob_by_definition(pattern.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn what_a_covered_pattern_matches_is_matched_by_the_covering_one(
            wide in "[ab*]{1,5}", narrow in "[ab*]{1,5}", text in "[ab]{1,6}",
        ) {
            let pattern = |text: &str| Pattern { database: "d".to_owned(), collection: text.to_owned() };
            let name = CollectionName::new("d", text);
            if pattern(&wide).covers(&pattern(&narrow)) && pattern(&narrow).matches(&name) {
                prop_assert!(pattern(&wide).matches(&name));
            }
        }

        #[test]
        fn a_selected_collection_lies_in_a_selected_database(
            include in "[ab*]{1,3}\\.[ab*]{1,3}", exclude in "[ab*]{1,3}\\.[ab*]{1,3}", text in "[ab]{1,3}\\.[ab]{1,3}",
        ) {
            if let Ok(selection) = select(&[&include], &[&exclude]) {
                let name = name(&text);
                prop_assert!(!selection.matches(&name) || selection.matches_database(&name.database));
            }
        }
    }
}
