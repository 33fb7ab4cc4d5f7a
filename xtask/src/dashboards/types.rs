//! The dashboards against Grafana's published types, by the TypeScript compiler.
//!
//! `@grafana/schema` has the dashboard, the panels and each panel type's options; what Prometheus' plugin takes as a query
//! is in `@grafana/grafana-foundation-sdk`. Both are types of TypeScript alone: nothing of them is run.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::debian::find;
use crate::step::{run, target};

const PACKAGES: [&str; 3] =
    ["@grafana/schema@13.2.3", "@grafana/grafana-foundation-sdk@0.0.21", "typescript@5.9.3"];

/// Enumerations of TypeScript don't take the text that JSON has in their place, so every type is read with the texts.
const PRELUDE: &str = r#"import type { AnnotationQuery, Dashboard, Panel, RowPanel, TableOptions } from '@grafana/schema';
import type { Dataquery } from '@grafana/grafana-foundation-sdk/prometheus';
export type Plain<T> = T extends string ? `${T}` : T extends (infer U)[] ? Plain<U>[]
  : T extends (...a: never[]) => unknown ? T : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
export type Query = Plain<Omit<Dataquery, '_implementsDataqueryVariant'>>;
export type { Dashboard, Panel, RowPanel, TableOptions };
// What Prometheus' plugin adds to an annotation and no published type has.
type Mark = Plain<Omit<AnnotationQuery, 'target'>>
  & { target: Query; titleFormat?: string; textFormat?: string; tagKeys?: string };
export type Whole = Plain<Omit<Dashboard, 'annotations'>> & { annotations?: { list?: Mark[] } };
"#;

/// What the types have to refuse: a check that refuses nothing would say nothing.
const REFUSED: &str = r#"import type { GraphFieldConfig } from '@grafana/schema';
import type * as stat from './node_modules/@grafana/schema/dist/types/raw/composable/stat/panelcfg/x/types.gen';
import type { Panel, Plain, Query, Whole } from './prelude';
// @ts-expect-error a variable's choice without its value
export const a: Whole = { schemaVersion: 42, templating: { list: [{ type: 'query', name: 'a', current: {} }] } };
// @ts-expect-error no such key
export const b: Whole = { schemaVersion: 42, templates: {} };
// @ts-expect-error no such mode of thresholds
export const c: Plain<Panel> = { type: 'stat', fieldConfig: { overrides: [], defaults: { thresholds: { mode: 'absolut', steps: [] } } } };
// @ts-expect-error no such style of lines
export const d: Plain<GraphFieldConfig> = { drawStyle: 'lines' };
// @ts-expect-error no such format
export const e: Query = { refId: 'A', expr: 'up', format: 'timeseries' };
// @ts-expect-error options are missing
export const f: Plain<stat.Options> = { graphMode: 'none' };
"#;

/// Fails when a dashboard is not what the types say.
///
/// # Errors
/// With the compiler's own words; or when it can't be had, see [`provide`].
pub fn check(dashboards: &[(&str, Value)]) -> Result<()> {
    let folder = provide()?;
    fs::write(folder.join("prelude.ts"), PRELUDE)?;
    fs::write(folder.join("refused.ts"), REFUSED)?;
    let mut files = vec!["refused.ts".to_owned()];
    for (name, json) in dashboards {
        let file = format!("{name}.ts");
        fs::write(folder.join(&file), typescript(json)?)?;
        files.push(file);
    }
    compile(&folder, &files)?;
    println!("{} dashboards are of Grafana's types ({})", dashboards.len(), PACKAGES.join(", "));
    Ok(())
}

/// Fetches the types and the compiler, once; gives the folder that they are in.
///
/// # Errors
/// When npm or its registry is not there.
pub fn provide() -> Result<PathBuf> {
    let folder = target().join("grafana-types");
    fs::create_dir_all(&folder)?;
    let npm = find("npm").context("npm is not installed: apt-get install npm")?;
    let stamp = folder.join("installed");
    if fs::read_to_string(&stamp).ok().as_deref() != Some(&PACKAGES.join(" ")) {
        fs::write(folder.join("package.json"), r#"{"private":true,"type":"module"}"#)?;
        // No script of theirs is run, and a registry that does not answer is not waited for.
        let install = ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--save-exact"];
        let hasty = ["--fetch-retries=1", "--fetch-timeout=20000"];
        run(Command::new(npm).args(install).args(hasty).args(PACKAGES).current_dir(&folder))?;
        fs::write(&stamp, PACKAGES.join(" "))?;
    }
    Ok(folder)
}

fn compile(folder: &Path, files: &[String]) -> Result<()> {
    let done = Command::new("node")
        .arg("node_modules/typescript/bin/tsc")
        .args(["--noEmit", "--strict", "--skipLibCheck", "--moduleResolution", "bundler"])
        .args(["--module", "esnext", "--target", "es2022", "--lib", "es2022,dom"])
        .args(files)
        .current_dir(folder)
        .output()
        .context("node")?;
    if !done.status.success() {
        bail!(
            "not of Grafana's types:\n{}{}",
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr)
        );
    }
    Ok(())
}

/// The whole as a dashboard; and each panel's options, its field options and its queries by the types of their own, for the
/// dashboard's type takes anything there.
fn typescript(json: &Value) -> Result<String> {
    let mut text = String::from(
        "import type { Plain, Query, Whole, Panel, RowPanel, TableOptions } from './prelude';\n\
         import type { GraphFieldConfig, TableFieldOptions } from '@grafana/schema';\n",
    );
    for (kind, (_, module)) in kinds() {
        let _ = writeln!(
            text,
            "import type * as {module} from './node_modules/@grafana/schema/dist/types/raw/composable/{}/panelcfg/x/types.gen';",
            kind.replace('-', "")
        );
    }
    let _ = writeln!(text, "export const dashboard: Whole = {};", serde_json::to_string_pretty(json)?);
    for panel in json["panels"].as_array().into_iter().flatten() {
        let (id, kind) = (&panel["id"], panel["type"].as_str().unwrap_or_default());
        if kind == "row" {
            let _ = writeln!(text, "export const row{id}: Plain<RowPanel> = {panel};");
            continue;
        }
        let all = kinds();
        let (fields, module) =
            all.get(kind).with_context(|| format!("no types for panels of type {kind}"))?;
        let options = if kind == "table" { "TableOptions".to_owned() } else { format!("{module}.Options") };
        let _ = writeln!(text, "export const panel{id}: Plain<Panel> = {panel};");
        let _ = writeln!(text, "export const options{id}: Plain<{options}> = {};", panel["options"]);
        let custom = &panel["fieldConfig"]["defaults"]["custom"];
        let _ = writeln!(text, "export const custom{id}: Plain<Partial<{fields}>> = {custom};");
        for (n, query) in panel["targets"].as_array().into_iter().flatten().enumerate() {
            let _ = writeln!(text, "export const query{id}_{n}: Query = {query};");
        }
    }
    Ok(text)
}

/// By panel type: the type of its field options, and the name its module is imported by.
fn kinds() -> BTreeMap<&'static str, (&'static str, &'static str)> {
    BTreeMap::from([
        ("timeseries", ("GraphFieldConfig", "timeseries")),
        ("stat", ("Record<string, never>", "stat")),
        ("state-timeline", ("timeline.FieldConfig", "timeline")),
        ("table", ("TableFieldOptions", "table")),
        ("heatmap", ("heatmap.FieldConfig", "heatmap")),
        ("bargauge", ("Record<string, never>", "bargauge")),
    ])
}
