//! Task documents for the stand's services.

use serde_json::{Value, json};

use super::{RUN, Stand};

impl Stand {
    /// The source, with every section.
    pub fn source_section(&self) -> Value {
        json!({
            "etcd": { "endpoints": [format!("http://{}", self.etcd)], "root_path": self.source.etcd_root },
            "queue": self.queue,
            "replicate_channel": "by-dev-replicate-msg",
            "milvus": { "uri": self.source.uri },
        })
    }

    /// A log of this run.
    pub fn log_section(&self, log: &str) -> Value {
        json!({
            "url": format!("s3://{}/{}/{log}", self.minio.bucket, *RUN),
            "options": {
                "endpoint": self.minio.endpoint,
                "access_key_id": { "env": "TAPEDECK_TEST_S3_KEY" },
                "secret_access_key": { "env": "TAPEDECK_TEST_S3_SECRET" },
            },
        })
    }

    /// A log of this run, as commands are told.
    pub fn log_arguments(&self, log: &str) -> [String; 3] {
        let url = format!("s3://{}/{}/{log}", self.minio.bucket, *RUN);
        [url, "--endpoint".into(), self.minio.endpoint.clone()]
    }

    /// The target.
    pub fn target_section(&self) -> Value {
        json!({ "uri": self.target.uri, "token": { "env": "TAPEDECK_TEST_TARGET_TOKEN" } })
    }

    /// Records what matches `include` into a log.
    pub fn record(&self, name: &str, log: &str, include: &[&str]) -> Value {
        json!({
            "name": name, "kind": "record", "source": self.source_section(), "log": self.log_section(log),
            "start": "earliest", "select": { "include": include },
        })
    }

    /// Replays a log into the target.
    pub fn replay(&self, name: &str, log: &str) -> Value {
        json!({
            "name": name, "kind": "replay", "log": self.log_section(log), "target": self.target_section(),
        })
    }

    /// Both at once, through a log of the task's name.
    pub fn replicate(&self, name: &str, include: &[&str]) -> Value {
        let mut spec = self.record(name, name, include);
        spec["kind"] = "replicate".into();
        spec["target"] = self.target_section();
        spec
    }
}
