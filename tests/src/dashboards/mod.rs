//! The committed Grafana dashboards, as far as they can be seen without a Grafana: what they ask, with the choices made that
//! a person would make, and drawings of what is answered.

mod draw;
mod form;
mod lines;
mod svg;
mod tables;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

pub use draw::{Span, draw};

use crate::prometheus::Series;

/// A dashboard.
#[derive(Clone, Debug)]
pub struct Dashboard {
    /// The name of its file.
    pub name: String,
    json: Value,
}

/// One panel of it.
#[derive(Clone, Debug)]
pub struct Panel {
    json: Value,
}

/// A query with its choices made, and what Prometheus answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// How the series are named.
    pub legend: String,
    /// What was answered.
    pub series: Vec<Series>,
}

/// What a person chooses where one value has to be chosen; of all else everything is.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a> {
    /// The job of the agents.
    pub job: &'a str,
    /// The node.
    pub instance: &'a str,
    /// The host of its instance.
    pub host: &'a str,
    /// The target.
    pub target: &'a str,
    /// `$__rate_interval`: four scrapes at least.
    pub rate: &'a str,
    /// `$__range`: the time on display.
    pub range: &'a str,
}

impl Dashboard {
    /// Every dashboard of the repository.
    ///
    /// # Errors
    /// When one can't be read.
    pub fn all() -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(folder())? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "json") {
                let json = serde_json::from_str(&fs::read_to_string(&path)?)
                    .with_context(|| path.display().to_string())?;
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                all.push(Self { name, json });
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Its panels in their order, headings of rows included.
    pub fn panels(&self) -> Vec<Panel> {
        self.json["panels"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|json| Panel { json: json.clone() })
            .collect()
    }

    /// What its variables and its annotations ask, as expressions that have a series when there is something to choose or
    /// to mark.
    pub fn other_queries(&self, choice: Choice<'_>) -> Vec<(String, String)> {
        let variables = self.json["templating"]["list"].as_array().into_iter().flatten();
        let values = variables.filter_map(|v| {
            let query = v["query"]["query"].as_str()?;
            let (series, label) =
                query.strip_prefix("label_values(")?.strip_suffix(')')?.rsplit_once(", ")?;
            Some((format!("the variable {}", v["name"]), format!("count by ({label}) ({series})")))
        });
        let marks = self.json["annotations"]["list"].as_array().into_iter().flatten();
        let marks = marks.filter_map(|a| {
            Some((format!("the marks {}", a["name"]), a["target"]["expr"].as_str()?.to_owned()))
        });
        values.chain(marks).map(|(what, query)| (what, self.chosen(&query, choice))).collect()
    }

    /// An expression with its variables replaced, as Grafana does.
    pub fn chosen(&self, expression: &str, choice: Choice<'_>) -> String {
        let one = [
            ("instance", choice.instance),
            ("host", choice.host),
            ("target", choice.target),
            ("job", choice.job),
            ("device", ""),
        ];
        let mut text = expression.replace("$__rate_interval", choice.rate).replace("$__range", choice.range);
        for (name, value) in one {
            let value = self.all_of(name).unwrap_or(value);
            text = text.replace(&format!("${{{name}:regex}}"), value).replace(&format!("${name}"), value);
        }
        text
    }

    /// What stands for a choice of all, where the variable has something to stand for it.
    fn all_of(&self, name: &str) -> Option<&str> {
        let variables = self.json["templating"]["list"].as_array();
        variables.into_iter().flatten().find(|v| v["name"] == name)?["allValue"].as_str()
    }
}

impl Panel {
    /// Its title, or that of the row.
    pub fn title(&self) -> &str {
        self.json["title"].as_str().unwrap_or_default()
    }

    /// Its type, by Grafana's word.
    pub fn kind(&self) -> &str {
        self.json["type"].as_str().unwrap_or_default()
    }

    /// Expression and legend of each of its queries.
    pub fn queries(&self) -> Vec<(String, String)> {
        let of = |query: &Value, key: &str| query[key].as_str().unwrap_or_default().to_owned();
        let all = self.json["targets"].as_array().into_iter().flatten();
        all.map(|query| (of(query, "expr"), of(query, "legendFormat"))).collect()
    }

    fn place(&self) -> [f64; 4] {
        ["x", "y", "w", "h"].map(|key| self.json["gridPos"][key].as_f64().unwrap_or_default())
    }

    fn defaults(&self) -> &Value {
        &self.json["fieldConfig"]["defaults"]
    }

    fn transformation(&self, id: &str) -> Option<&Value> {
        let all = self.json["transformations"].as_array()?;
        all.iter().find(|t| t["id"] == id).map(|t| &t["options"])
    }
}

/// Where the dashboards and rules are.
pub fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../dashboards"))
}
