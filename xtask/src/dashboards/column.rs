//! Columns of tables.

use serde_json::{Value, json};

use super::words::{self, STATES, Word};

/// One column of a table.
#[derive(Clone, Debug)]
pub struct Column {
    pub(super) of: &'static str,
    pub(super) title: &'static str,
    properties: Vec<Value>,
}

impl Column {
    /// The column `of` the answer, under this title.
    pub fn new(of: &'static str, title: &'static str) -> Self {
        Self { of, title, properties: Vec::new() }
    }

    /// Its unit, by Grafana's word.
    pub fn unit(self, unit: &str) -> Self {
        self.property("unit", json!(unit))
    }

    /// Its values are states.
    pub fn states(self) -> Self {
        self.words(&STATES)
    }

    /// Its values by their words and colours.
    pub fn words(self, words: &[Word]) -> Self {
        self.property("mappings", words::mappings(words))
            .property("custom.cellOptions", json!({ "type": "color-text" }))
    }

    /// Coloured from each value on.
    pub fn thresholds(self, first: &str, from: &[(f64, &str)]) -> Self {
        self.property("thresholds", words::thresholds(first, from))
            .property("color", json!({ "mode": "thresholds" }))
            .property("custom.cellOptions", json!({ "type": "color-text" }))
    }

    /// Where a click leads.
    pub fn link(self, title: &str, url: &str) -> Self {
        self.property("links", words::links(title, url))
    }

    fn property(mut self, id: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        self.properties.push(json!({ "id": id, "value": value }));
        self
    }

    pub(super) fn json(&self) -> Option<Value> {
        (!self.properties.is_empty()).then(
            || json!({ "matcher": { "id": "byName", "options": self.title }, "properties": self.properties }),
        )
    }
}
