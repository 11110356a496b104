//! `cargo xtask dashboard`: the Grafana dashboard over the daemon's metrics, from one table of
//! panels. Written by a program, so that no panel has a query of a metric that is gone.

mod panels;

use std::fs;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::process::workspace_root;
use panels::{ROWS, Shown};

/// Where it is, from the root of the workspace.
const FILE: &str = "monitoring/grafana-dashboard.json";
/// Columns of Grafana's grid.
const COLUMNS: usize = 24;
/// Height of a panel in the grid's units.
const HEIGHT: usize = 8;
/// Version of the JSON: that of Grafana 10.
const SCHEMA: u32 = 39;

/// Writes it.
pub(crate) fn run() -> Result<()> {
    let path = workspace_root()?.join(FILE);
    fs::write(&path, generated()?).with_context(|| format!("cannot write {}", path.display()))
}

fn generated() -> Result<String> {
    let mut text = serde_json::to_string_pretty(&Dashboard::new())?;
    text.push('\n');
    Ok(text)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Dashboard {
    uid: &'static str,
    title: &'static str,
    tags: [&'static str; 1],
    schema_version: u32,
    editable: bool,
    refresh: &'static str,
    time: Range,
    templating: Templating,
    panels: Vec<Panel>,
}

#[derive(Serialize)]
struct Range {
    from: &'static str,
    to: &'static str,
}

#[derive(Serialize)]
struct Templating {
    list: [Variable; 2],
}

/// What a person chooses above the panels.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Variable {
    name: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    query: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    datasource: Option<Source>,
    multi: bool,
    include_all: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    all_value: Option<&'static str>,
    /// 2: again whenever the time range changes.
    refresh: u32,
}

/// Where queries go: the data source that was chosen.
#[derive(Serialize)]
struct Source {
    #[serde(rename = "type")]
    kind: &'static str,
    uid: &'static str,
}

const SOURCE: Source = Source {
    kind: "prometheus",
    uid: "${datasource}",
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Panel {
    id: usize,
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    description: &'static str,
    datasource: Source,
    grid_pos: Position,
    field_config: FieldConfig,
    targets: Vec<Target>,
}

#[derive(Serialize)]
struct Position {
    x: usize,
    y: usize,
    w: usize,
    h: usize,
}

#[derive(Serialize)]
struct FieldConfig {
    defaults: Defaults,
    overrides: [(); 0],
}

#[derive(Serialize)]
struct Defaults {
    unit: &'static str,
    min: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    ref_id: char,
    datasource: Source,
    expr: &'static str,
    legend_format: &'static str,
}

impl Dashboard {
    fn new() -> Self {
        Self {
            uid: "sockpick",
            title: "sockpick: which socket did the kernel pick",
            tags: ["sockpick"],
            schema_version: SCHEMA,
            editable: true,
            refresh: "30s",
            time: Range {
                from: "now-3h",
                to: "now",
            },
            templating: Templating {
                list: [source_variable(), instance_variable()],
            },
            panels: panels(),
        }
    }
}

fn source_variable() -> Variable {
    Variable {
        name: "datasource",
        kind: "datasource",
        query: "prometheus",
        datasource: None,
        multi: false,
        include_all: false,
        all_value: None,
        refresh: 1,
    }
}

fn instance_variable() -> Variable {
    Variable {
        name: "instance",
        kind: "query",
        query: "label_values(sockpick_build_info, instance)",
        datasource: Some(SOURCE),
        multi: true,
        include_all: true,
        all_value: Some(".*"),
        refresh: 2,
    }
}

/// Panels of a row share its width.
fn panels() -> Vec<Panel> {
    let mut panels = Vec::new();
    for (row, shown) in ROWS.iter().enumerate() {
        let width = COLUMNS / shown.len();
        for (column, shown) in shown.iter().enumerate() {
            let at = Position {
                x: column * width,
                y: row * HEIGHT,
                w: width,
                h: HEIGHT,
            };
            panels.push(panel(panels.len() + 1, shown, at));
        }
    }
    panels
}

fn panel(id: usize, shown: &Shown, grid_pos: Position) -> Panel {
    let targets = shown.queries.iter().zip('A'..);
    Panel {
        id,
        kind: "timeseries",
        title: shown.title,
        description: shown.description,
        datasource: SOURCE,
        grid_pos,
        field_config: FieldConfig {
            defaults: Defaults {
                unit: shown.unit,
                min: 0,
            },
            overrides: [],
        },
        targets: targets
            .map(|(&(expr, legend_format), ref_id)| Target {
                ref_id,
                datasource: SOURCE,
                expr,
                legend_format,
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_what_is_generated() -> Result<()> {
        let path = workspace_root()?.join(FILE);
        let there = fs::read_to_string(path)?;
        assert_eq!(there, generated()?, "run `cargo xtask dashboard`");
        Ok(())
    }

    #[test]
    fn every_metric_that_is_asked_for_is_documented() {
        let docs = include_str!("../../docs/metrics.md");
        let rules = include_str!("../../monitoring/prometheus-rules.yml");
        for (query, _) in ROWS
            .iter()
            .flat_map(|row| *row)
            .flat_map(|shown| shown.queries)
        {
            let is_part = |c: char| c.is_alphanumeric() || "_:".contains(c);
            let words = query.split(|c| !is_part(c));
            let names: Vec<&str> = words.filter(|word| word.contains("sockpick_")).collect();
            assert!(!names.is_empty(), "{query}");
            for name in names {
                let is_known = docs.contains(&format!("| `{name}` |"))
                    || rules.contains(&format!("- record: {name}\n"));
                assert!(is_known, "{name}");
            }
        }
    }

    #[test]
    fn every_query_is_of_the_chosen_hosts() {
        for shown in ROWS.iter().flat_map(|row| *row) {
            assert!((1..=26).contains(&shown.queries.len()), "{}", shown.title);
            for (query, legend) in shown.queries {
                assert!(query.contains("instance=~\"$instance\""), "{query}");
                assert!(legend.contains("{{instance}}"), "{legend}");
            }
        }
    }
}
