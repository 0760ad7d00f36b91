//! A source, a target, and between them the shared `replicate` task.

use tapedeck::change::CollectionName;
use tokio::sync::OnceCell;

use crate::stand::compare::compare;
use crate::stand::service::Api;
use crate::stand::{Failure, Milvus, Outcome, RUN, Service, Stand, Table};

const TASK: &str = "shared";

/// What the shared task selects; tests with tasks of their own use other names.
fn prefix() -> String {
    format!("shared_{}", *RUN)
}

/// Lives as long as the tests do.
async fn shared_service(stand: &Stand) -> Outcome<&'static Service> {
    static SHARED: OnceCell<Result<Service, String>> = OnceCell::const_new();
    let start = async || {
        let service = Service::start(stand, "shared").await?;
        let include = [format!("default.{}_*", prefix()), format!("{}_*.*", prefix())];
        let include = include.each_ref().map(String::as_str);
        service.api.create(&stand.replicate(TASK, &include)).await?;
        service.api.records(TASK).await?;
        Ok(service)
    };
    let shared = SHARED.get_or_init(async || start().await.map_err(|Failure(text)| text)).await;
    shared.as_ref().map_err(|text| Failure(format!("the shared task: {text}")))
}

/// What a test of an operation works on. What it makes at the source must appear at the target.
pub struct Scene {
    pub source: Milvus,
    pub target: Milvus,
    api: Api,
    prefix: String,
}

impl Scene {
    /// The scene of one test; none: no stand, the test is skipped.
    pub async fn open(test: &str) -> Outcome<Option<Scene>> {
        let Some(stand) = Stand::find()? else { return Ok(None) };
        let (address, log) = shared_service(&stand).await?.place();
        // clients belong to the runtime of their test
        let api = Api::at(&address, &log)?;
        let (source, target) = (stand.source()?, stand.target()?);
        Ok(Some(Scene { source, target, api, prefix: format!("{}_{test}", prefix()) }))
    }

    /// A name in the default database that only this test uses.
    pub fn name(&self, part: &str) -> CollectionName {
        CollectionName::new("default", format!("{}_{part}", self.prefix))
    }

    /// The name of a database that only this test uses.
    pub fn database(&self, part: &str) -> String {
        format!("{}_{part}", self.prefix)
    }

    /// A plain table that is there at the source, indexed and loaded.
    pub async fn loaded(&self, part: &str) -> Outcome<Table> {
        let table = Table::plain(&self.name(part));
        self.source.create_loaded(&table).await?;
        Ok(table)
    }

    /// Waits until the target holds of these collections what the source holds.
    pub async fn same(&self, names: &[&CollectionName]) -> Outcome {
        for name in names {
            let what = format!("{name} equal at source and target");
            self.eventually(&what, async || compare((&self.source, name), (&self.target, name)).await)
                .await?;
        }
        Ok(())
    }

    /// Waits for something at the target.
    pub async fn eventually(
        &self,
        what: &str,
        look: impl AsyncFnMut() -> Outcome<Option<String>>,
    ) -> Outcome {
        self.api.eventually(&[TASK], what, look).await
    }

    /// Drops what the test has made and waits until it is gone at the target as well.
    pub async fn close(self) -> Outcome {
        let own = |name: &String| name.starts_with(&format!("{}_", self.prefix));
        let mut dropped = Vec::new();
        for database in self.source.databases().await?.iter().filter(|name| *name == "default" || own(name)) {
            for name in self.source.collections(database).await? {
                if own(&name.database) || own(&name.collection) {
                    for alias in self.source.describe(&name).await?.aliases {
                        self.source.drop_alias(database, &alias).await?;
                    }
                    self.source.drop(&name).await?;
                    dropped.push(name);
                }
            }
            if own(database) {
                self.source.drop_database(database).await?;
            }
        }
        self.same(&dropped.iter().filter(|name| name.database == "default").collect::<Vec<_>>()).await?;
        self.eventually("databases gone at the target", async || {
            let left = self.target.databases().await?.into_iter().filter(own).collect::<Vec<_>>();
            Ok((!left.is_empty()).then(|| left.join(", ")))
        })
        .await
    }
}
