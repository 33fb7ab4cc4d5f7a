//! A dashboard, its variables, rows and queries, as Grafana's JSON has them.

use serde_json::{Value, json};

use super::panel::Panel;

/// Version of Grafana's dashboard JSON that is written, as of Grafana 13. Older ones read it: it has nothing that came
/// later than Grafana 11.
const SCHEMA: u32 = 42;
/// Columns of Grafana's grid.
const GRID: u64 = 24;
/// What all dashboards carry, and link one another by.
const TAG: &str = "netmon";
/// What stands for `@` in an expression.
const CHOSEN: &str = r#"job=~"$job", instance=~"$instance""#;

/// The data source that the person at the dashboard chose.
pub fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

/// A dashboard.
#[derive(Debug)]
pub struct Dashboard {
    /// Name of its file, and its identity to Grafana after `netmon-`. Links and bookmarks hold on to it.
    pub name: &'static str,
    /// Its title, after `netmon / `.
    pub title: &'static str,
    /// What it is for, in words.
    pub description: &'static str,
    /// What can be chosen, in this order, behind the data source.
    pub variables: Vec<Variable>,
    /// Its rows.
    pub rows: Vec<Row>,
}

/// Panels under one heading.
#[derive(Debug)]
pub struct Row {
    /// The heading.
    pub title: &'static str,
    /// Its panels, from the left; what finds no room goes on below.
    pub panels: Vec<Panel>,
}

impl Dashboard {
    /// Its JSON.
    pub fn json(&self) -> Value {
        let variables: Vec<Value> =
            [source_variable()].into_iter().chain(self.variables.iter().map(Variable::json)).collect();
        json!({
            "uid": format!("netmon-{}", self.name),
            "title": format!("netmon / {}", self.title),
            "description": self.description,
            "tags": [TAG],
            "schemaVersion": SCHEMA,
            "editable": false,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": { "from": "now-3h", "to": "now" },
            "timezone": "browser",
            "annotations": { "list": [alerts(self.variables.iter().any(|v| v.name == "instance"))] },
            "links": [to_the_others()],
            "templating": { "list": variables },
            "panels": layout(&self.rows),
        })
    }
}

/// Rows and panels with their identities and places.
fn layout(rows: &[Row]) -> Vec<Value> {
    let (mut placed, mut y) = (Vec::new(), 0);
    for row in rows {
        placed.push(json!({
            "type": "row", "id": placed.len() + 1, "title": row.title, "collapsed": false, "panels": [],
            "gridPos": { "x": 0, "y": y, "w": GRID, "h": 1 },
        }));
        y += 1;
        let (mut x, mut height) = (0, 0);
        for panel in &row.panels {
            let (w, h) = panel.size;
            if x + w > GRID {
                (x, y, height) = (0, y + height, 0);
            }
            let mut json = panel.json(placed.len() + 1);
            json["gridPos"] = json!({ "x": x, "y": y, "w": w, "h": h });
            placed.push(json);
            (x, height) = (x + w, height.max(h));
        }
        y += height;
    }
    placed
}

/// Firing alerts, as regions over every graph.
fn alerts(of_nodes: bool) -> Value {
    let chosen = if of_nodes { r#", instance=~"$instance|""# } else { "" };
    json!({
        "name": "Alerts",
        "enable": true,
        "iconColor": "red",
        "datasource": datasource(),
        "target": {
            "refId": "Alerts",
            "expr": format!(r#"ALERTS{{alertname=~"Netmon.*", alertstate="firing"{chosen}}}"#),
        },
        "titleFormat": "{{alertname}}",
        "textFormat": "{{instance}} {{target}} {{device}}",
        "tagKeys": "severity",
    })
}

fn to_the_others() -> Value {
    json!({
        "type": "dashboards", "title": "netmon", "tags": [TAG], "asDropdown": false, "icon": "external link",
        "includeVars": true, "keepTime": true, "targetBlank": false, "tooltip": "The other dashboards, of the same choice",
    })
}

/// Something to choose.
#[derive(Debug)]
pub struct Variable {
    name: &'static str,
    label: &'static str,
    query: &'static str,
    regex: &'static str,
    several: bool,
    hidden: bool,
}

impl Variable {
    /// One value of those that `query` finds, in the form `label_values(series, label)`.
    pub fn one(name: &'static str, label: &'static str, query: &'static str) -> Self {
        Self { name, label, query, regex: "", several: false, hidden: false }
    }

    /// Any number of values, all of them at first.
    pub fn several(name: &'static str, label: &'static str, query: &'static str) -> Self {
        Self { several: true, ..Self::one(name, label, query) }
    }

    /// Worked out of the others by what `regex` captures, and not shown.
    pub fn hidden(name: &'static str, query: &'static str, regex: &'static str) -> Self {
        Self { hidden: true, regex, ..Self::one(name, name, query) }
    }

    fn json(&self) -> Value {
        let query = self.query.replace('@', CHOSEN);
        let mut json = json!({
            "type": "query", "name": self.name, "label": self.label, "datasource": datasource(),
            "query": { "query": query, "refId": format!("variable-{}", self.name), "qryType": 1 },
            "regex": self.regex, "refresh": 2, "sort": 7, "multi": self.several, "includeAll": self.several,
            "hide": if self.hidden { 2 } else { 0 },
        });
        if self.several {
            // Of a choice of all no list of names is made: with thousands of nodes it would be too long a query. Jobs are few,
            // and there are others than netmon's.
            if self.name != "job" {
                json["allValue"] = json!(".*");
            }
            json["current"] = json!({ "text": "All", "value": "$__all" });
        }
        json
    }
}

fn source_variable() -> Value {
    json!({
        "type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus",
        "refresh": 1, "regex": "", "hide": 0, "multi": false, "includeAll": false,
    })
}

/// One query of a panel.
#[derive(Clone, Debug)]
pub struct Query {
    expression: String,
    legend: String,
    shape: Shape,
}

/// What a query's answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Lines over time.
    Range,
    /// Buckets over time.
    Heatmap,
    /// One value now.
    Instant,
    /// Rows of a table, now.
    Table,
}

impl Query {
    /// A query; in its expression `@` is what was chosen of `job` and `instance`.
    pub fn new(expression: impl Into<String>, legend: &str, shape: Shape) -> Self {
        Self { expression: expression.into(), legend: legend.to_owned(), shape }
    }

    /// Its JSON, as the `n`th of its panel.
    pub fn json(&self, n: u8) -> Value {
        let now = matches!(self.shape, Shape::Instant | Shape::Table);
        let format = match self.shape {
            Shape::Range | Shape::Instant => "time_series",
            Shape::Heatmap => "heatmap",
            Shape::Table => "table",
        };
        json!({
            "refId": char::from(b'A' + n).to_string(),
            "datasource": datasource(),
            "editorMode": "code",
            "expr": self.expression.replace('@', CHOSEN),
            "legendFormat": self.legend,
            "format": format,
            "instant": now,
            "range": !now,
        })
    }
}
