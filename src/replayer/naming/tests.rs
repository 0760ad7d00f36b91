use super::*;
use crate::error::Verdict;

fn definition(change: Change) -> Definition {
    Definition { tso: 1, exact: true, change: Some(change) }
}

fn created(id: CollectionId, name: &str) -> Definition {
    let collection = Collection { id, database_id: 1, name: name.into(), ..Default::default() };
    definition(Change::CreateCollection(collection))
}

fn renamed(id: CollectionId, name: &str) -> Definition {
    definition(Change::RenameCollection(pb::RenameCollection { id, database_id: 1, name: name.into() }))
}

/// Names of the database `default`, for these patterns and renames.
fn naming(include: &[&str], renames: &[(&str, &str)]) -> Naming {
    let include = include.iter().map(|pattern| (*pattern).to_owned()).collect::<Vec<_>>();
    let selection = Selection::new(&include, &[]).unwrap();
    let renames = renames.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect();
    let renames = Renames::new(&renames, &selection).unwrap();
    let mut catalog = Catalog::default();
    catalog.databases.insert(1, pb::Database { id: 1, name: "default".into(), ..Default::default() });
    Naming::new(catalog, selection, renames)
}

#[test]
fn two_collections_that_would_have_one_name_at_the_target_are_refused_by_name() {
    for second in [created(2, "docs"), renamed(2, "docs")] {
        let mut naming = naming(&["*.*"], &[("default.docs", "default.copy")]);
        if matches!(second.change, Some(Change::RenameCollection(_))) {
            naming.apply(&created(2, "other")).unwrap();
        }
        naming.apply(&created(1, "copy")).unwrap();
        let error = naming.apply(&second).unwrap_err();
        assert_eq!(error.verdict, Verdict::Refused);
        let message = "default.copy and default.docs would both be default.copy at the target";
        assert_eq!((error.message.as_str(), error.advice.is_some()), (message, true));
    }
}

#[test]
fn a_name_that_is_free_again_or_not_selected_is_no_clash() {
    let mut naming = naming(&["default.docs", "default.copied"], &[("default.docs", "default.copy")]);
    naming.apply(&created(1, "copy")).unwrap();
    naming.apply(&created(2, "docs")).unwrap();
    naming.apply(&renamed(2, "copied")).unwrap();
    assert_eq!(naming.apply(&created(3, "docs")).unwrap().len(), 1);
}

#[test]
fn a_rename_across_the_selection_is_refused_by_both_names() {
    for (from, to) in [("docs", "other"), ("other", "docs")] {
        let mut naming = naming(&["default.docs"], &[]);
        naming.apply(&created(1, from)).unwrap();
        let error = naming.apply(&renamed(1, to)).unwrap_err();
        assert_eq!(error.verdict, Verdict::Refused);
        let message = format!("default.{from} was renamed to default.{to}, across the selection");
        assert_eq!((error.message, error.advice.is_some()), (message, true));
    }
}

#[test]
fn a_renamed_default_database_is_made_and_no_drop_reaches_default() {
    let naming = naming(&["*.*"], &[("default.*", "copy.*")]);
    let made = DefinitionChange::CreateDatabase { database: "copy".into() };
    assert_eq!(naming.extra_databases(), [made]);

    let mut naming = self::naming(&["*.*"], &[("other.*", "default.*"), ("default.*", "copy.*")]);
    let other = pb::Database { id: 2, name: "other".into(), ..Default::default() };
    naming.apply(&definition(Change::CreateDatabase(other))).unwrap();
    let dropped = definition(Change::DropDatabase(pb::DropDatabase { id: 2 }));
    assert_eq!(naming.apply(&dropped).unwrap(), []);
}

#[test]
fn a_database_is_dropped_only_where_it_is_replayed_as_a_whole() {
    let dropped = DefinitionChange::DropDatabase { database: "shop".into() };
    for (include, renames, changes) in [
        (vec!["shop.*"], vec![], vec![dropped]),
        (vec!["shop.docs"], vec![("shop.docs", "copies.docs")], vec![]),
        (vec!["shop.*", "default.docs"], vec![("default.docs", "shop.docs_of_default")], vec![]),
    ] {
        let mut naming = naming(&include, &renames);
        let shop = pb::Database { id: 2, name: "shop".into(), ..Default::default() };
        naming.apply(&definition(Change::CreateDatabase(shop))).unwrap();
        let drop = definition(Change::DropDatabase(pb::DropDatabase { id: 2 }));
        assert_eq!(naming.apply(&drop).unwrap(), changes, "{include:?}");
    }
}

fn bound(alias: &str, collection_id: CollectionId) -> pb::Alias {
    pb::Alias { database_id: 1, name: alias.into(), collection_id }
}

fn altered(alias: &str, collection_id: CollectionId) -> Definition {
    definition(Change::AlterAlias(bound(alias, collection_id)))
}

fn dropped_alias(alias: &str) -> Definition {
    definition(Change::DropAlias(pb::DropAlias { database_id: 1, name: alias.into() }))
}

fn drop_of(name: &str, alias: &str) -> DefinitionChange {
    DefinitionChange::DropAlias { name: CollectionName::new("default", name), alias: alias.into() }
}

#[test]
fn an_alias_does_not_go_to_a_copy_under_another_name() {
    let mut naming = naming(&["*.*"], &[("default.docs", "default.copy")]);
    naming.apply(&created(1, "docs")).unwrap();
    naming.apply(&created(2, "other")).unwrap();
    assert_eq!(naming.apply(&definition(Change::CreateAlias(bound("x", 1)))).unwrap(), []);
    assert_eq!(naming.aliases_left_out(), [("x".to_owned(), CollectionName::new("default", "docs"))]);
    assert_eq!(naming.aliases().count(), 0);
    let name = CollectionName::new("default", "other");
    let made = DefinitionChange::CreateAlias { name, alias: "x".into() };
    assert_eq!(naming.apply(&altered("x", 2)).unwrap(), [made]);
    assert_eq!(naming.apply(&altered("x", 1)).unwrap(), [drop_of("other", "x")]);
    assert_eq!(naming.apply(&dropped_alias("x")).unwrap(), []);
}

#[test]
fn a_collection_that_a_rename_makes_a_copy_leaves_its_aliases_behind() {
    let mut naming = naming(&["*.*"], &[("default.docs", "default.copy")]);
    naming.apply(&created(1, "other")).unwrap();
    naming.apply(&altered("x", 1)).unwrap();
    let (from, to) = (CollectionName::new("default", "other"), CollectionName::new("default", "copy"));
    let changes = [drop_of("other", "x"), DefinitionChange::RenameCollection { from, to }];
    assert_eq!(naming.apply(&renamed(1, "docs")).unwrap(), changes);
}

#[test]
fn an_alias_that_moves_out_of_the_selection_is_dropped() {
    let mut naming = naming(&["default.docs"], &[]);
    naming.apply(&created(1, "docs")).unwrap();
    naming.apply(&created(2, "other")).unwrap();
    naming.apply(&altered("x", 1)).unwrap();
    assert_eq!(naming.apply(&altered("x", 2)).unwrap(), [drop_of("docs", "x")]);
    assert_eq!(naming.apply(&dropped_alias("x")).unwrap(), []);
}
