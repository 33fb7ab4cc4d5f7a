//! Panels: what is shown, in which unit, and how it is to be read.

use serde_json::{Map, Value, json};

use super::column::Column;
use super::model::{Query, Shape, datasource};
use super::words::{self, PLAIN, STATES, Word};

/// A panel of a type of Grafana's own.
#[derive(Debug)]
pub struct Panel {
    /// Width, of 24 columns, and height.
    pub size: (u64, u64),
    kind: &'static str,
    shape: Shape,
    title: &'static str,
    description: &'static str,
    queries: Vec<Query>,
    defaults: Map<String, Value>,
    custom: Map<String, Value>,
    options: Value,
    overrides: Vec<Value>,
    transformations: Vec<Value>,
}

impl Panel {
    fn new(
        kind: &'static str,
        shape: Shape,
        size: (u64, u64),
        title: &'static str,
        description: &'static str,
        options: Value,
    ) -> Self {
        let mut defaults = Map::new();
        defaults.insert("unit".to_owned(), json!("short"));
        let (overrides, transformations, queries) = Default::default();
        let custom = Map::new();
        Self {
            size,
            kind,
            shape,
            title,
            description,
            queries,
            defaults,
            custom,
            options,
            overrides,
            transformations,
        }
        .thresholds(PLAIN, &[])
    }

    /// Lines over time.
    pub fn lines(title: &'static str, description: &'static str) -> Self {
        let options = json!({
            "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": [] },
            "tooltip": { "mode": "multi", "sort": "desc" },
        });
        let mut panel = Self::new("timeseries", Shape::Range, (12, 8), title, description, options);
        panel.default("color", json!({ "mode": "palette-classic" }));
        panel.custom("drawStyle", "line");
        panel.custom("lineWidth", 1);
        panel.custom("fillOpacity", 10);
        panel.custom("showPoints", "never");
        panel.custom("spanNulls", false);
        panel
    }

    /// One large figure, as of now.
    pub fn figure(title: &'static str, description: &'static str) -> Self {
        let options = json!({
            "colorMode": "background", "graphMode": "none", "justifyMode": "auto", "orientation": "auto",
            "percentChangeColorMode": "standard", "showPercentChange": false, "textMode": "auto", "wideLayout": true,
            "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
        });
        let mut panel = Self::new("stat", Shape::Instant, (4, 4), title, description, options);
        panel.custom.clear();
        panel
    }

    /// One band a series, coloured by its value.
    pub fn bands(title: &'static str, description: &'static str) -> Self {
        let options = json!({
            "alignValue": "left", "mergeValues": true, "rowHeight": 0.85, "showValue": "auto", "perPage": 20,
            "legend": { "displayMode": "list", "placement": "bottom", "showLegend": false, "calcs": [] },
            "tooltip": { "mode": "single", "sort": "none" },
        });
        let mut panel = Self::new("state-timeline", Shape::Range, (12, 8), title, description, options);
        panel.custom("fillOpacity", 80);
        panel.custom("lineWidth", 0);
        panel
    }

    /// Rows, as of now.
    pub fn table(title: &'static str, description: &'static str) -> Self {
        let options =
            json!({ "showHeader": true, "frameIndex": 0, "cellHeight": "sm", "enablePagination": true });
        let mut panel = Self::new("table", Shape::Table, (12, 8), title, description, options);
        panel.custom("align", "auto");
        panel.custom("filterable", true);
        panel
    }

    /// How many there were in each bucket of a histogram, over time.
    pub fn heatmap(title: &'static str, description: &'static str) -> Self {
        let options = json!({
            "calculate": false,
            "cellGap": 1,
            "color": {
                "mode": "scheme", "scheme": "Oranges", "scale": "exponential", "exponent": 0.5, "steps": 64,
                "reverse": false, "fill": "dark-orange",
            },
            "exemplars": { "color": "rgba(255,0,255,0.7)" },
            "filterValues": { "le": 1e-9 },
            "legend": { "show": true },
            "rowsFrame": { "layout": "auto" },
            "showValue": "never",
            "tooltip": { "mode": "single", "showColorScale": false, "yHistogram": true },
            "yAxis": { "axisPlacement": "left", "unit": "s" },
        });
        let mut panel = Self::new("heatmap", Shape::Heatmap, (12, 8), title, description, options);
        panel.custom("scaleDistribution", json!({ "type": "linear" }));
        panel
    }

    /// A horizontal bar a series, as of now.
    pub fn bars(title: &'static str, description: &'static str) -> Self {
        let options = json!({
            "displayMode": "basic", "maxVizHeight": 300, "minVizHeight": 16, "minVizWidth": 8, "namePlacement": "auto",
            "orientation": "horizontal", "showUnfilled": true, "sizing": "auto", "valueMode": "color",
            "legend": { "displayMode": "list", "placement": "bottom", "showLegend": false, "calcs": [] },
            "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
        });
        Self::new("bargauge", Shape::Instant, (12, 8), title, description, options).min(0.0)
    }

    /// What is asked; the legend is Grafana's, with `{{label}}`.
    pub fn query(mut self, expression: impl Into<String>, legend: &str) -> Self {
        self.queries.push(Query::new(expression, legend, self.shape));
        self
    }

    /// So wide, of 24 columns, and so high.
    pub fn size(mut self, width: u64, height: u64) -> Self {
        self.size = (width, height);
        self
    }

    /// The unit of its values, by Grafana's word.
    pub fn unit(mut self, unit: &str) -> Self {
        self.default("unit", json!(unit));
        self
    }

    /// The least value of the axis.
    pub fn min(mut self, min: f64) -> Self {
        self.default("min", json!(min));
        self
    }

    /// A part of one: 0 to 100 %.
    pub fn ratio(self) -> Self {
        let mut panel = self.unit("percentunit").min(0.0);
        panel.default("max", json!(1));
        panel
    }

    /// Digits behind the point.
    pub fn decimals(mut self, digits: u8) -> Self {
        self.default("decimals", json!(digits));
        self
    }

    /// What is shown where there is nothing.
    pub fn without_value(mut self, text: &str) -> Self {
        self.default("noValue", json!(text));
        self
    }

    /// The colour at first, and from each value on.
    pub fn thresholds(mut self, first: &str, from: &[(f64, &str)]) -> Self {
        self.default("thresholds", words::thresholds(first, from));
        if !from.is_empty() && self.kind == "timeseries" {
            self.custom("thresholdsStyle", json!({ "mode": "dashed" }));
        }
        self
    }

    /// Values by their words and colours.
    pub fn words(mut self, words: &[Word]) -> Self {
        self.default("mappings", words::mappings(words));
        self.default("color", json!({ "mode": "thresholds" }));
        self
    }

    /// Values are states, as [`super::words::state`] numbers them.
    pub fn states(self) -> Self {
        self.words(&STATES)
    }

    /// Series are named after states, and have their colours.
    pub fn states_as_series(mut self) -> Self {
        self.overrides.extend(STATES.map(|(_, name, color)| {
            json!({
                "matcher": { "id": "byName", "options": name },
                "properties": [{ "id": "color", "value": { "mode": "fixed", "fixedColor": color } }],
            })
        }));
        self
    }

    /// Series lie upon one another.
    pub fn stacked(mut self) -> Self {
        self.custom("stacking", json!({ "group": "A", "mode": "normal" }));
        self.custom("fillOpacity", 40);
        self
    }

    /// Bars in place of lines: of what is rare.
    pub fn strokes(mut self) -> Self {
        self.custom("drawStyle", "bars");
        self.custom("fillOpacity", 80);
        self
    }

    /// Series whose names match are drawn below the axis.
    pub fn below(mut self, regex: &str) -> Self {
        self.overrides.push(json!({
            "matcher": { "id": "byRegexp", "options": regex },
            "properties": [{ "id": "custom.transform", "value": "negative-Y" }],
        }));
        self
    }

    /// The axis is logarithmic.
    pub fn logarithmic(mut self) -> Self {
        self.custom("scaleDistribution", json!({ "type": "log", "log": 10 }));
        self
    }

    /// Makes one table of its queries: these columns, by their names in the answers (`Value #A` is the first query's value
    /// where there are several, `Value` else), in this order; all others are left out.
    pub fn columns(mut self, columns: &[Column]) -> Self {
        if self.queries.len() > 1 {
            self.transformations.push(json!({ "id": "merge", "options": {} }));
        }
        let names: Vec<&str> = columns.iter().map(|c| c.of).collect();
        self.transformations
            .push(json!({ "id": "filterFieldsByName", "options": { "include": { "names": names } } }));
        let order: Map<String, Value> =
            columns.iter().enumerate().map(|(n, c)| (c.of.to_owned(), json!(n))).collect();
        let renamed: Map<String, Value> = columns.iter().map(|c| (c.of.to_owned(), json!(c.title))).collect();
        self.transformations.push(json!({
            "id": "organize",
            "options": { "excludeByName": {}, "indexByName": order, "renameByName": renamed },
        }));
        self.overrides.extend(columns.iter().filter_map(Column::json));
        self
    }

    /// Sorted by the column of this title, the greatest first.
    pub fn greatest_first(mut self, title: &str) -> Self {
        self.options["sortBy"] = json!([{ "displayName": title, "desc": true }]);
        self
    }

    /// A table with a row for each value of one label, a column for each value of another, and coloured values where they
    /// meet.
    pub fn matrix(mut self, row: &str, column: &str) -> Self {
        self.transformations.push(json!({
            "id": "groupingToMatrix",
            "options": { "rowField": row, "columnField": column, "valueField": "Value", "emptyValue": "null" },
        }));
        self.default("color", json!({ "mode": "thresholds" }));
        self.custom("cellOptions", json!({ "type": "color-background", "mode": "basic" }));
        self.custom("align", "center");
        self.custom("filterable", false);
        self.overrides.push(json!({
            "matcher": { "id": "byName", "options": format!("{row}\\{column}") },
            "properties": [
                { "id": "custom.cellOptions", "value": { "type": "auto" } },
                { "id": "custom.align", "value": "left" },
            ],
        }));
        self
    }

    /// Where a click leads.
    pub fn link(mut self, title: &str, url: &str) -> Self {
        self.default("links", words::links(title, url));
        self
    }

    /// Its JSON, but for its place.
    pub fn json(&self, id: usize) -> Value {
        let mut defaults = self.defaults.clone();
        defaults.insert("custom".to_owned(), self.custom.clone().into());
        let targets: Vec<Value> = (0..).zip(&self.queries).map(|(n, query)| query.json(n)).collect();
        json!({
            "type": self.kind,
            "id": id,
            "title": self.title,
            "description": self.description,
            "datasource": datasource(),
            "fieldConfig": { "defaults": defaults, "overrides": self.overrides },
            "options": self.options,
            "targets": targets,
            "transformations": self.transformations,
        })
    }

    fn default(&mut self, key: &str, value: Value) {
        self.defaults.insert(key.to_owned(), value);
    }

    fn custom(&mut self, key: &str, value: impl Into<Value>) {
        self.custom.insert(key.to_owned(), value.into());
    }
}
